"""Batches that the devices do not divide: every loss and metric is what one device without padding gives."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import funcnet as fn
from funcnet import data, nn, optim, training
from funcnet import functional as F

SAMPLES, BATCH = 11, 8  # a last batch of three
CLASSES = 3


def targets_of(kind, rng):
    shape = {"tokens": (SAMPLES, 4), "sets": (SAMPLES, CLASSES)}.get(kind, SAMPLES)
    if kind in ("class", "tokens", "sets"):
        found = rng.integers(0, CLASSES, shape)
        if kind == "tokens":
            found[rng.random(shape) < 0.3] = -100  # ignored
            found[:, 0] = 1
        return found
    if kind == "signs":
        return np.sign(rng.standard_normal((SAMPLES, CLASSES))).astype(np.float32)
    if kind == "bits":
        return rng.integers(0, 2, (SAMPLES, CLASSES)).astype(np.float32)
    if kind == "probabilities":
        return rng.dirichlet([1.0] * CLASSES, SAMPLES).astype(np.float32)
    return rng.standard_normal((SAMPLES, CLASSES)).astype(np.float32)


KINDS = {
    "binary_cross_entropy_with_logits": "bits",
    "cross_entropy": "class",
    "hinge_embedding_loss": "signs",
    "kl_div": "probabilities",
    "multi_margin_loss": "class",
    "multilabel_margin_loss": "sets",
    "multilabel_soft_margin_loss": "bits",
    "nll_loss": "class",
    "poisson_nll_loss": "bits",
    "soft_margin_loss": "signs",
}

MORE_ARRAYS = {
    "cosine_embedding_loss",
    "ctc_loss",
    "gaussian_nll_loss",
    "linear_cross_entropy",
    "margin_ranking_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "binary_cross_entropy",  # of probabilities
}
"""Losses that do not take outputs and targets alone; a function of two arguments leads to them."""

WEIGHT = jnp.array([1.0, 2.0, 0.5])


def losses():
    found = {}
    for name, loss in inspect.getmembers(F, inspect.isfunction):
        if "reduction" in inspect.signature(loss).parameters and name not in MORE_ARRAYS:
            found[name] = (KINDS.get(name, "numbers"), loss)
    found |= {
        "weighted": ("class", partial(F.cross_entropy, weight=WEIGHT)),
        "smoothed": ("class", partial(F.cross_entropy, label_smoothing=0.1)),
        "of probabilities": ("probabilities", F.cross_entropy),
        "of tokens": ("tokens", F.cross_entropy),
        "layer": ("class", nn.CrossEntropyLoss()),
        "layer of squares": ("numbers", nn.MSELoss()),  # three outputs, three rows in a batch
        "layer of bits": ("bits", nn.BCEWithLogitsLoss()),
        "by hand": ("numbers", lambda output, target: jnp.mean((output - target) ** 2)),
        "with a mask": ("numbers", masked),
    }
    return found


def masked(output, target, *, where=None):
    each = ((output - target) ** 2).mean(1)
    return (
        each.mean()
        if where is None
        else (each * where.astype(each.dtype)).sum() / where.sum().astype(each.dtype)
    )


def root(output, target):
    """The root of a mean is no mean of rows: right where nothing is padded."""
    return jnp.sqrt(jnp.mean(jnp.square(output)))


class Tokens(fn.Module):
    def __init__(self):
        self.dense = nn.Linear(4, CLASSES * 4)

    def __call__(self, x):
        return self.dense(x).reshape(-1, CLASSES, 4)


def setting(kind, loss, rng, **options):
    x = rng.standard_normal((SAMPLES, 4)).astype(np.float32)
    arrays = {"x": x, "y": targets_of(kind, rng)}
    net = fn.functionalize(Tokens() if kind == "tokens" else nn.Linear(4, CLASSES))
    objective = training.supervised(net, loss, inputs="x", targets="y", **options)
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    return objective, run, data.DataLoader(data.ArrayDataset(arrays), BATCH)


def rows_over(count):
    mesh = jax.make_mesh((count,), ("data",), (AxisType.Auto,), devices=jax.devices()[:count])
    return NamedSharding(mesh, P("data"))


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in losses().values()}))
def test_values_and_gradients_are_those_of_one_device_without_padding(kind, rng):
    """All losses of one kind of targets at once, as metrics, in one compilation."""
    metrics = {name: loss for name, (of, loss) in losses().items() if of == kind}
    metrics |= {"accuracy": training.accuracy} if kind == "class" else {}
    objective, run, loader = setting(kind, next(iter(metrics.values())), rng, metrics=metrics)
    (last,) = list(loader)[1:]
    (padded,) = data.prefetch_to_device([last], sharding=rows_over(4), pad=True)
    assert padded["valid"].tolist() == [True] * 3 + [False]

    @jax.jit
    def step(params, batch):
        def total(params):
            values = objective(params, run.state, batch, None, True)[1][0]
            return jnp.stack([*values.values()]).sum(), values

        return jax.grad(total, has_aux=True)(params)

    one, other = jax.tree.leaves(step(run.params, last)), jax.tree.leaves(step(run.params, padded))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # float32 sums in another order


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", ["weighted", "by hand"])
def test_epochs_are_those_of_one_device_without_padding(name, count, rng):
    kind, loss = losses()[name]
    objective, run, loader = setting(kind, loss, rng)
    on_mesh = data.prefetch_to_device(loader, sharding=rows_over(count), pad=True)
    expected = training.evaluate(objective, run, loader)
    found = training.evaluate(objective, run, on_mesh)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=5e-6)


def test_all_rows_go_together_where_all_are_real(rng):
    objective, run, loader = setting("numbers", root, rng)
    plain = training.evaluate(objective, run, [next(iter(loader))])
    loader.set_epoch(0)
    on_mesh = data.prefetch_to_device(loader, sharding=rows_over(4), pad=True)
    found = training.evaluate(objective, run, [next(iter(on_mesh))])
    np.testing.assert_allclose(found["loss"], plain["loss"], rtol=1e-6)
