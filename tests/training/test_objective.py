"""Means over what is there: padded rows, smaller batches, masks, shapes of targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import data, nn, optim, training
from funcnet import functional as F

N = 10


def _dataset(kind):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 4)).astype(np.float32)
    targets = {
        "class": rng.integers(0, 3, N),
        "probabilities": rng.dirichlet([1, 1, 1], N).astype(np.float32),
        "numbers": rng.standard_normal((N, 3)).astype(np.float32),
        "bits": rng.integers(0, 2, (N, 3)).astype(np.float32),
    }
    return {"x": x, "y": targets[kind]}


LOSSES = {
    "cross_entropy": ("class", F.cross_entropy),
    "cross_entropy of probabilities": ("probabilities", F.cross_entropy),
    "mse": ("numbers", F.mse_loss),
    "smooth l1": ("numbers", F.smooth_l1_loss),
    "bce": ("bits", F.binary_cross_entropy_with_logits),
    "a lambda": ("numbers", lambda output, target: jnp.mean((output - target) ** 2)),
    "a lambda of classes": ("class", lambda output, target: F.cross_entropy(output, target)),
}


@pytest.mark.parametrize(("kind", "loss"), LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("batch_size", [3, 4, 10])
def test_each_sample_counts_once_with_padded_and_with_smaller_batches(kind, loss, batch_size):
    net = fn.functionalize(nn.Linear(4, 3))
    whole = _dataset(kind)
    metrics = {"mae": lambda o, t: jnp.mean(jnp.abs(o))}
    objective = training.supervised(net, loss, inputs="x", targets="y", metrics=metrics)
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    expected = training.evaluate(objective, run, [whole])
    for options in ({"pad_last": True}, {}):
        loader = data.DataLoader(data.ArrayDataset(whole), batch_size=batch_size, **options)
        found = training.evaluate(objective, run, loader)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            # float32 sums in another order
            np.testing.assert_allclose(found[name], value, rtol=2e-6, err_msg=f"{name} {options}")


def test_padded_rows_have_no_gradient_in_training():
    net = fn.functionalize(nn.Linear(4, 3))
    params, state = net.init(jax.random.key(0))
    whole = _dataset("class")
    real = {name: value[:2] for name, value in whole.items()}
    padded = {name: value[[0, 1, 1, 1]] for name, value in whole.items()}
    padded["valid"] = np.array([True, True, False, False])
    for loss in (F.cross_entropy, lambda o, t: F.cross_entropy(o, t)):
        objective = training.supervised(net, loss, inputs="x", targets="y")
        grad = jax.grad(lambda p, batch: objective(p, state, batch, None, True)[0])
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            grad(params, padded),
            grad(params, real),
        )


def test_tuples_say_which_rows_are_real_by_their_last_item():
    net = fn.functionalize(nn.Linear(4, 3))
    whole = _dataset("numbers")
    objective = training.supervised(
        net, F.mse_loss, inputs=lambda batch: batch[0], targets=lambda batch: batch[1]
    )
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    expected = training.evaluate(objective, run, [(whole["x"], whole["y"])])["loss"]
    dataset = data.ArrayDataset((whole["x"], whole["y"]))
    loader = data.DataLoader(dataset, batch_size=4, pad_last=True)
    assert training.evaluate(objective, run, loader)["loss"] == pytest.approx(expected, rel=2e-6)


def test_a_batchs_number_of_samples():
    def objective(params, state, batch, key, train):
        return batch["x"].mean(), ({"loss": batch["x"].mean()}, state)

    net = fn.functionalize(nn.Linear(4, 3))
    run = training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
    x = np.arange(6.0, dtype=np.float32)
    batches = [{"x": x[:4], "scale": np.float32(2)}, {"x": x[4:], "scale": np.float32(2)}]
    assert training.evaluate(objective, run, batches) == {"loss": 2.5}
    valid = {"x": np.array([1.0, 5.0, 5.0], np.float32), "valid": np.array([True, True, False])}
    ours = lambda *args: objective(*args)
    assert training.evaluate(ours, run, [valid, {**valid, "x": valid["x"] * 0}])[
        "loss"
    ] == pytest.approx(11 / 6)
    with pytest.raises(ValueError, match=r"first axes of \[2, 3\].*weight\(batch\)"):
        training.evaluate(objective, run, [{"classes": np.ones(3), "x": x[:2]}])


@pytest.mark.parametrize(
    ("logits", "targets", "expected"),
    [
        ([[2, 1], [0, 1], [3, 4]], [0, 0, 1], 2 / 3),
        ([[2, 1], [0, 1], [3, 4]], [[1, 0], [1, 0], [0, 1]], 2 / 3),
        ([[2, 1], [0, 1], [3, 4]], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], 2 / 3),
        ([2.0, -1.0, 3.0], [1, 1, 1], 2 / 3),
        ([2.0, -1.0, 3.0], [1.0, 0.0, 0.0], 2 / 3),
        ([2.0, -1.0, 3.0], [True, False, False], 2 / 3),
        ([[2.0], [-1.0], [3.0]], [[1], [1], [1]], 2 / 3),
        ([[[2, 1], [0, 1]], [[3, 4], [5, 1]]], [[0, 0], [1, 1]], 1 / 2),
    ],
)
def test_accuracy_of_every_form_of_targets(logits, targets, expected):
    logits, targets = jnp.asarray(logits, jnp.float32), jnp.asarray(targets)
    assert float(training.accuracy(logits, targets)) == pytest.approx(expected)
    where = jnp.arange(len(logits)) < 1
    alone = training.accuracy(logits[:1], targets[:1])
    assert float(training.accuracy(logits, targets, where=where)) == pytest.approx(float(alone))


@pytest.mark.parametrize(
    ("logits", "targets"), [((3, 2), (3, 1)), ((3,), (3, 1)), ((3, 1), (3,)), ((3, 2), (2,))]
)
def test_accuracy_refuses_what_would_broadcast(logits, targets):
    with pytest.raises(ValueError, match="accuracy takes logits"):
        training.accuracy(jnp.zeros(logits), jnp.zeros(targets, jnp.int32))
    with pytest.raises(ValueError, match="class indices as integers"):
        training.accuracy(jnp.zeros((3, 2)), jnp.zeros(3))


def test_a_batch_may_carry_what_has_no_rows():
    """An objective written by hand may be given another net's parameters in its batch."""

    def objective(params, state, batch, key, train):
        loss = ((batch["x"] @ params - batch["other"]["bias"]) ** 2).mean()
        return loss, ({"loss": loss}, state)

    optimizer = optim.sgd(0.1)
    params = jnp.ones(3)
    run = training.TrainState(params, {}, optimizer.init(params), jnp.int32(0), jax.random.key(0))
    batch = {"x": jnp.ones((4, 3)), "other": {"bias": jnp.zeros(1), "weight": jnp.ones((7, 2))}}
    after, found = jax.jit(training.make_train_step(objective, optimizer))(run, batch)
    assert found["loss"] == 9.0
    np.testing.assert_allclose(after.params, 1 - 0.1 * 6 * np.ones(3), rtol=1e-6)
    assert jax.jit(training.make_eval_step(objective))(run, batch)["loss"] == 9.0
    with pytest.raises(ValueError, match="weight"):
        training.evaluate(objective, run, [batch])
