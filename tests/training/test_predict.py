"""predict: all outputs in order, without the rows that fill, whatever gives the batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, nn, optim, parallel, training
from tests.training.models import Model

SAMPLES, FEATURES = 11, 4
X = np.random.default_rng(0).standard_normal((SAMPLES, FEATURES)).astype(np.float32)
TRACES = []


class Parts(fn.Module):
    """A model whose outputs are a pytree."""

    def __init__(self):
        self.dense = nn.Linear(FEATURES, 3)

    def __call__(self, x):
        TRACES.append(x.shape)
        y = self.dense(x)
        return {"scores": y, "rest": (y.astype(jnp.bfloat16), y.argmax(-1))}


NET = fn.functionalize(Parts())
PARAMS, STATE = NET.init(jax.random.key(0))
MESH = lambda count: parallel.mesh(data=count, devices=jax.devices()[:count])


def predict(batches, **options):
    return training.predict(NET, PARAMS, STATE, batches, **options)


def expected(x=X):
    return NET.apply(PARAMS, STATE, x)[0]


def check(found, x=X):
    wanted = expected(x)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert isinstance(ours, np.ndarray)
        assert ours.dtype == theirs.dtype
        tolerance = 2**-8 if ours.dtype == jnp.bfloat16 else 2e-6
        np.testing.assert_allclose(
            ours.astype(np.float32), np.asarray(theirs, np.float32), rtol=tolerance, atol=1e-7
        )


def loader(arrays, **options):
    return data.DataLoader(data.ArrayDataset(arrays), 4, **options)


TEXT = np.array([f"row {place}" for place in range(SAMPLES)])
SOURCES = {
    "arrays": lambda: [X[:4], X[4:8], X[8:]],
    "arrays of JAX": lambda: [jnp.asarray(X[:4]), jnp.asarray(X[4:8]), jnp.asarray(X[8:])],
    "a generator": lambda: (X[place : place + 4] for place in range(0, SAMPLES, 4)),
    "a loader of arrays": lambda: loader(X),
    "a padded loader of arrays": lambda: loader(X, pad_last=True),
    "pairs": lambda: loader((X, np.arange(SAMPLES))),
    "padded pairs": lambda: loader((X, np.arange(SAMPLES)), pad_last=True),
    "dicts": lambda: loader({"image": X, "label": np.arange(SAMPLES)}, pad_last=True),
    "dicts with text": lambda: loader({"image": X, "name": TEXT}),
    "one batch": lambda: [X],
    "a larger batch later": lambda: [X[:2], X[2:]],
    "an empty batch": lambda: [X[:4], X[:0], X[4:]],
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_all_outputs_in_order(source):
    check(predict(SOURCES[source]()))


@pytest.mark.parametrize("source", ["arrays", "a generator", "padded pairs", "dicts with text"])
@pytest.mark.parametrize("count", [2, 4])
def test_on_a_mesh(source, count, request):
    if (count == 2) != (source == "arrays") and request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: the others show it")
    check(predict(SOURCES[source](), mesh=MESH(count)))


def test_by_rules_and_of_a_sharded_model():
    rules = {"*.weight": "fsdp"}
    check(predict(SOURCES["dicts"](), mesh=MESH(4), rules=rules))
    net = parallel.shard(NET, MESH(4), rules)
    check(training.predict(net, *net.init(jax.random.key(0)), SOURCES["dicts"]()))


def test_a_function_of_the_batch():
    double = lambda batch: batch["image"] * 2
    check(predict(SOURCES["dicts"](), inputs=double), X * 2)
    check(predict([{"a": X[:8]}, {"a": X[8:]}], inputs="a"))


def test_a_smaller_batch_and_another_call_compile_nothing_again():
    before = len(TRACES)
    half = lambda batch: batch / 2
    for _ in range(2):
        predict(SOURCES["arrays"](), inputs=half)
    assert len(TRACES) - before == 1


def test_layers_are_in_evaluation_mode():
    net = fn.functionalize(Model(FEATURES))
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    found = training.predict(net, run.params, run.state, [X])
    wanted = net.apply(run.params, run.state, X, train=False)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_mistakes():
    with pytest.raises(ValueError, match="batches is empty"):
        predict([])
    with pytest.raises(KeyError, match=r"no entry 'image': it has \['x'\]; pass inputs="):
        predict([{"x": X}])
    with pytest.raises(ValueError, match=r"first axes of \[5, 11\]"):
        predict([(X, X[:5])])

    class Mean(fn.Module):
        def __call__(self, x):
            return {"mean": x.mean()}

    with pytest.raises(ValueError, match=r"outputs\['mean'\] has shape \(\) for a batch of 11"):
        training.predict(fn.functionalize(Mean()), {}, {}, [X])
