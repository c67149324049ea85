"""A batch in parts: the gradient, the means and the metrics of the whole, also of losses over tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, nn, optim, parallel, training
from funcnet import functional as F
from funcnet.training import metrics as M
from tests.training.test_averages import LOSSES, NET, samples

KINDS = {
    "tokens": LOSSES["cross_entropy of tokens"],
    "weights of classes": LOSSES["cross_entropy smoothed"],
    "few": LOSSES["cross_entropy of few"],
    "sum": lambda o, t: F.mse_loss(o["scores"], t["numbers"], reduction="sum"),
    "by hand": lambda o, t: jnp.mean((o["scores"] - t["numbers"]) ** 2),
}


SAMPLED = [(4, "tokens"), (2, "weights of classes"), (2, "sum"), (11, "few")]


def objective_of(loss, **options):
    metrics = {"accuracy": lambda o, t: training.accuracy(o["scores"], t["class"])}
    whole = {"inputs": "x", "targets": lambda batch: batch, "metrics": metrics}
    return training.supervised(NET, loss, **(whole | options))


def stepped(loss, batch, microbatches):
    objective = objective_of(loss, microbatches=microbatches)
    step = jax.jit(training.make_train_step(objective, optim.sgd(1.0)))
    run = training.TrainState.create(NET, optim.sgd(1.0), jax.random.key(0))
    return step(run, batch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [2, 4, 11])
def test_a_step_in_parts_is_the_step_of_the_whole(kind, parts, request):
    if (parts, kind) not in SAMPLED and request.config.getoption("grid") != "full":
        pytest.skip("--grid=full: the others show it")
    batch = samples()
    (run, metrics), (other, expected) = (stepped(KINDS[kind], batch, count) for count in (parts, 1))
    assert metrics.keys() == expected.keys()
    for a, b in zip(
        jax.tree.leaves((run.params, metrics)),
        jax.tree.leaves((other.params, expected)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # float32 sums in another order


def test_padded_rows_of_a_batch_stay_out():
    real = {name: value[:5] for name, value in samples().items()}
    padded = {name: value[[0, 1, 2, 3, 4, 0, 1]] for name, value in samples().items()}
    padded["valid"] = np.arange(7) < 5
    (run, metrics), (other, expected) = (
        stepped(KINDS["tokens"], *of) for of in ((padded, 3), (real, 1))
    )
    for a, b in zip(
        jax.tree.leaves((run.params, metrics)),
        jax.tree.leaves((other.params, expected)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


SIMPLE = fn.functionalize(nn.Linear(4, 3))


@pytest.mark.parametrize("devices", [1, 2])
def test_fit_in_parts_gives_the_history_of_the_whole(devices):
    mesh = None if devices == 1 else parallel.mesh(data=devices, devices=jax.devices()[:devices])

    def fitted(microbatches, mesh):
        objective = training.supervised(
            SIMPLE, F.cross_entropy, inputs="x", targets="rare", microbatches=microbatches
        )
        loader = data.DataLoader(data.ArrayDataset(samples()), 4)
        optimizer = optim.sgd(0.5, momentum=0.9)
        run = training.TrainState.create(SIMPLE, optimizer, jax.random.key(0))
        return training.fit(
            objective, optimizer, run, loader, epochs=2, evaluation=loader, progress=False,
            mesh=mesh,
        )  # fmt: skip

    (run, history), (other, expected) = fitted(2, mesh), fitted(1, None)
    for a, b in zip(jax.tree.leaves(run.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    for name in ("train/loss", "eval/loss"):
        np.testing.assert_allclose(history.series(name), expected.series(name), rtol=1e-5)


def test_metric_objects_count_all_parts_once():
    objective = training.supervised(
        SIMPLE, F.cross_entropy, inputs="x", targets="class", microbatches=3
    )
    still = optim.sgd(0.0)
    run = training.TrainState.create(SIMPLE, still, jax.random.key(0))
    loader = data.DataLoader(data.ArrayDataset(samples()), 4)
    matrix = {"matrix": M.ConfusionMatrix(3)}
    _, history = training.fit(
        objective, still, run, loader, epochs=1, evaluation=loader, metrics=matrix, progress=False
    )
    np.testing.assert_array_equal(history.arrays["train/matrix"], history.arrays["eval/matrix"])
    assert history.arrays["train/matrix"].sum() == len(samples()["x"])


def test_half_precision_sums_in_32_bits_under_a_loss_scale():
    net = fn.mixed_precision(SIMPLE, compute=jnp.float16, outputs=jnp.float32)
    scale = training.dynamic_loss_scale(2.0**10)
    found = []
    for parts in (1, 4):
        objective = training.supervised(
            net, F.cross_entropy, inputs="x", targets="rare", microbatches=parts
        )
        run = training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0), loss_scale=scale)
        step = jax.jit(training.make_train_step(objective, optim.sgd(0.5), loss_scale=scale))
        found.append(step(run, samples()))
    (run, metrics), (other, expected) = found
    assert int(other.opt_state.skipped) == 0
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=2**-10)
    for a, b in zip(jax.tree.leaves(run.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=2**-8, atol=2**-10)  # gradients of 11 bits


def test_the_number_of_parts_is_checked():
    with pytest.raises(ValueError, match="microbatches must be greater than zero"):
        objective_of(KINDS["tokens"], microbatches=0)
