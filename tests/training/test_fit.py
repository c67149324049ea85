"""The loop: its pieces, what it reports, how it ends."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import optim, training
from tests.module.models import Counter, Dense, Noise


class Model(fn.Module):
    def __init__(self):
        self.dense = Dense(4, 2)
        self.counter = Counter()
        self.noise = Noise()

    def __call__(self, x):
        return self.counter(self.noise(self.dense(x)))


def mse(outputs, targets):
    return jnp.mean((outputs - targets) ** 2)


def mae(outputs, targets):
    return jnp.mean(jnp.abs(outputs - targets))


@pytest.fixture
def pieces(rng):
    x = rng.standard_normal((10, 4), np.float32)
    weight = rng.standard_normal((4, 2), np.float32)
    whole = {"x": x, "y": x @ weight}
    batches = [{k: v[i : i + 4] for k, v in whole.items()} for i in (0, 4, 8)]
    net = fn.functionalize(Model())
    optimizer = optim.adam(0.05)
    run = training.TrainState.create(net, optimizer, jax.random.key(0))
    objective = training.supervised(net, mse, inputs="x", targets="y", metrics={"mae": mae})
    return net, optimizer, run, objective, batches, whole


@pytest.mark.smoke
def test_fit_learns_reports_and_leaves_its_arguments_whole(pieces):
    _, optimizer, run, objective, batches, _ = pieces
    before = jax.device_get((run.params, run.state))
    kept = []
    after, history = training.fit(
        objective,
        optimizer,
        run,
        batches,
        epochs=4,
        evaluation=batches,
        progress=False,
        on_epoch=lambda run, record: kept.append((run, record)),
    )
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves((run.params, run.state)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(after.step) == 12
    assert int(after.state["counter"]["calls"]) == 12
    assert history.series("epoch") == [1, 2, 3, 4]
    assert history.series("step") == [3, 6, 9, 12]
    assert set(history.records[0]) == {
        "epoch", "step", "seconds", "train/loss", "train/mae", "eval/loss", "eval/mae",
    }  # fmt: skip
    assert history.series("eval/loss")[-1] < history.series("eval/loss")[0]
    assert not history.interrupted
    for run, record in kept:  # states given to the callback stay usable
        assert int(run.step) == record["step"]
    with pytest.raises(KeyError, match="eval/mae"):
        history.series("accuracy")


def test_the_run_repeats_bit_for_bit_and_resumes(pieces):
    _, optimizer, run, objective, batches, _ = pieces
    fit = lambda run, epochs: training.fit(
        objective, optimizer, run, batches, epochs=epochs, progress=False
    )[0]
    straight, again, halves = fit(run, 4), fit(run, 4), fit(fit(run, 2), 2)
    for other in (again, halves):
        for a, b in zip(
            jax.tree.leaves(straight.params), jax.tree.leaves(other.params), strict=True
        ):
            np.testing.assert_array_equal(a, b)


def test_evaluation_weighs_samples_equally(pieces):
    net, _, run, objective, batches, whole = pieces
    means = training.evaluate(objective, run, batches)
    outputs, _ = net.apply(run.params, run.state, whole["x"])
    np.testing.assert_allclose(means["mae"], mae(outputs, whole["y"]), rtol=1e-5)
    assert training.evaluate(objective, run, []) == {}


def test_a_loop_by_hand_from_the_pieces(pieces):
    _, optimizer, run, objective, batches, _ = pieces
    step = jax.jit(training.make_train_step(objective, optimizer))
    mean = training.RunningMean.zeros(["loss", "mae"])
    mine = run
    for batch in batches:
        mine, metrics = step(mine, batch)
        mean = mean.add(metrics, len(batch["x"]))
    theirs, history = training.fit(objective, optimizer, run, batches, epochs=1, progress=False)
    for a, b in zip(jax.tree.leaves(mine.params), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # two compilations round differently
    np.testing.assert_allclose(mean.compute()["loss"], history.series("train/loss")[0], rtol=1e-5)


def test_an_optimizer_of_optax_does_as_well(pieces):
    optax = pytest.importorskip("optax")
    net, _, _, objective, batches, _ = pieces
    with jax.numpy_dtype_promotion("standard"):  # Optax relies on it
        run = training.TrainState.create(net, optax.adam(0.05), jax.random.key(0))
        after, _ = training.fit(objective, optax.adam(0.05), run, batches, epochs=1, progress=False)
    assert int(after.step) == 3


def test_a_step_compiles_once_for_each_shape_of_batch(pieces):
    net, optimizer, run, _, batches, _ = pieces
    traces = []

    def objective(params, state, batch, key, train):
        traces.append(batch["x"].shape)
        outputs, state = net.apply(params, state, batch["x"], key=key, train=train)
        loss = mse(outputs, batch["y"])
        return loss, ({"loss": loss}, state)

    training.fit(objective, optimizer, run, batches, epochs=3, progress=False)
    # one abstract look at the names of the metrics, then one trace for each of the two shapes
    assert sorted(traces) == [(2, 4), (4, 4), (4, 4)]


@pytest.fixture
def ctrl_c():
    """Ctrl-C as Python has it; a shell may have started the tests with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_returns_what_was_reached(pieces):
    _, optimizer, run, objective, batches, _ = pieces

    class Interrupted(list):
        def __iter__(self):
            yield self[0]
            os.kill(os.getpid(), signal.SIGINT)
            yield from self[1:]

    after, history = training.fit(
        objective,
        optimizer,
        run,
        Interrupted(batches),
        epochs=5,
        evaluation=batches,
        progress=False,
    )
    assert history.interrupted
    assert int(after.step) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_bar_says_when_it_compiles(pieces, capsys):
    _, optimizer, run, objective, batches, _ = pieces
    training.fit(objective, optimizer, run, batches, epochs=2, progress=True)
    shown = capsys.readouterr().err
    assert "epoch 1/2 (compiling)" in shown
    assert "epoch 2/2" in shown
    assert "epoch 2/2 (compiling)" not in shown
    assert "loss=" in shown


def test_a_bar_without_tqdm_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r"funcnet\[progress\]"):
        training.Progress([1], "epoch")
    assert list(training.Progress([1], "epoch", show=False)) == [1]


def test_mistakes(pieces):
    net, optimizer, run, objective, batches, _ = pieces
    with pytest.raises(ValueError, match="is an iterator"):
        training.fit(objective, optimizer, run, iter(batches), epochs=2, progress=False)
    with pytest.raises(ValueError, match="empty"):
        training.fit(objective, optimizer, run, [], epochs=1, progress=False)
    with pytest.raises(KeyError, match=r"no entry 'image'.*\['x', 'y'\]"):
        training.evaluate(training.supervised(net, mse), run, batches)
    unreduced = training.supervised(net, lambda o, t: (o - t) ** 2, inputs="x", targets="y")
    with pytest.raises(ValueError, match="must be a scalar"):
        training.evaluate(unreduced, run, batches)


def test_a_train_state_is_a_pytree_with_paths(pieces):
    run = pieces[2]
    assert jax.tree.structure(jax.tree.map(lambda x: x, run)) == jax.tree.structure(run)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(run)]
    assert ".params['dense']['weight']" in paths


def test_running_means():
    mean = training.RunningMean.zeros(["a"])
    assert np.isnan(mean.compute()["a"])
    mean = jax.jit(lambda m: m.add({"a": jnp.float32(2)}, 1).add({"a": jnp.float32(5)}, 3))(mean)
    assert mean.compute() == {"a": 4.25}
    assert float(training.accuracy(jnp.eye(3), jnp.array([0, 1, 1]))) == pytest.approx(2 / 3)
