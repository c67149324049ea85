"""A loss scale through fit: the loop written by hand, on a mesh, with averages of what is not finite, resumed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, nn, optim, parallel, training
from funcnet import functional as F

SAMPLES = 11
SCALE = training.dynamic_loss_scale(2.0**20, growth_interval=2)


def loader(**options):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((SAMPLES, 4)).astype(np.float32)
    return data.DataLoader(
        data.ArrayDataset({"x": x, "y": rng.integers(0, 3, SAMPLES)}), 4, **options
    )


NET = fn.mixed_precision(
    fn.functionalize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))),
    compute=jnp.float16, outputs=jnp.float32,
)  # fmt: skip
OPTIMIZER = optim.adamw(0.05)
OBJECTIVE = training.supervised(
    NET, F.cross_entropy, inputs="x", targets="y", metrics={"accuracy": training.accuracy}
)


def start(**options):
    options = {"loss_scale": SCALE} | options
    return training.TrainState.create(NET, OPTIMIZER, jax.random.key(0), **options)


def fit(run=None, **options):
    options = {
        "epochs": 3,
        "progress": False,
        "evaluation": loader(),
        "loss_scale": SCALE,
    } | options
    run = start() if run is None else run
    return training.fit(OBJECTIVE, OPTIMIZER, run, loader(), **options)


@pytest.fixture(scope="module")
def fitted():
    return fit()


def close(found, expected, rtol, atol=0.0):
    (run, history), (other, other_history) = found, expected
    for a, b in zip(jax.tree.leaves(run), jax.tree.leaves(other), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol)
    for record, wanted in zip(history.records, other_history.records, strict=True):
        for name in record.keys() - {"seconds"}:
            np.testing.assert_allclose(record[name], wanted[name], rtol=rtol, err_msg=name)


def test_it_is_the_loop_by_hand_and_its_means_are_not_scaled(fitted):
    step = jax.jit(training.make_train_step(OBJECTIVE, OPTIMIZER, loss_scale=SCALE))
    run, losses = start(), []
    for _ in range(3):
        total = 0.0
        for batch in loader():
            run, metrics = step(run, batch)
            total += float(metrics["loss"]) * len(batch["x"])
        losses.append(total / SAMPLES)
    found, history = fitted
    assert int(run.opt_state.skipped) > 0  # the first scale is too large
    assert float(found.opt_state.scale) == float(run.opt_state.scale)
    np.testing.assert_allclose(history.series("train/loss"), losses, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(run.params), strict=True):
        np.testing.assert_array_equal(a, b)
    means = training.evaluate(OBJECTIVE, found, loader())
    assert means["loss"] == pytest.approx(history.series("eval/loss")[-1], rel=1e-6)


@pytest.mark.parametrize("rules", [None, {"*.weight": parallel.fsdp(smallest=1)}])
def test_on_a_mesh(rules, fitted):
    mesh = parallel.mesh(data=2, devices=jax.devices()[:2])
    # sixteen bits of a sum in another order, through Adam's division by small gradients
    found, history = fit(mesh=mesh, rules=rules)
    assert int(found.opt_state.skipped) == int(fitted[0].opt_state.skipped)
    np.testing.assert_allclose(
        history.series("train/loss"), fitted[1].series("train/loss"), rtol=2**-8
    )


def test_it_goes_on_from_a_checkpoint(fitted, tmp_path):
    fit(epochs=1, checkpoint=tmp_path)
    close(fit(checkpoint=tmp_path), fitted, rtol=0)


def test_a_run_without_it_is_told():
    with pytest.raises(
        TypeError, match=r"TrainState\.create\(net, optimizer, key, loss_scale=scale\)"
    ):
        fit(start(loss_scale=None))
