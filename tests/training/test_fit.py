"""The loop: its pieces, what it reports, how it ends."""

import io
import os
import re
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import optim, training
from tests.training.models import mae, mse


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
    with pytest.raises(ValueError, match="batches is empty: there is nothing to evaluate on"):
        training.evaluate(objective, run, [])
    with pytest.raises(ValueError, match=r"batches is an iterator \(list_iterator\)"):
        training.evaluate(objective, run, iter([]))


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


class Terminal(io.StringIO):
    """Standard error as a terminal has it."""

    def isatty(self):
        return True


def test_the_bar_says_when_it_compiles(pieces, monkeypatch):
    _, _, run, objective, batches, _ = pieces
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    training.fit(objective, optim.adam(0.01), run, batches, epochs=2, progress=True)
    shown = terminal.getvalue()
    assert "epoch 1/2 (compiling)" in shown
    assert "epoch 2/2 (compiling)" not in shown
    assert "3/3" in shown


@pytest.mark.parametrize("without", ["a terminal", "tqdm"])
def test_without_a_terminal_or_tqdm_there_are_lines(pieces, monkeypatch, capsys, without):
    _, optimizer, run, objective, batches, _ = pieces
    if without == "tqdm":
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
        monkeypatch.setattr("sys.stderr", terminal := Terminal())
    bar = training.Progress(batches, "epoch 1", line_every=0.0)
    for _ in bar:
        bar.show(lambda: {"loss": 0.5})
    err = terminal.getvalue() if without == "tqdm" else capsys.readouterr().err
    assert "\r" not in err
    assert err.splitlines()[1] == "epoch 1: 1/3 batches in 0 s, loss=0.5000"
    bar.call(lambda batch: batch, batch=batches[0], known=set())
    err = terminal.getvalue() if without == "tqdm" else capsys.readouterr().err
    assert err.splitlines()[-1] == "epoch 1 (compiling)"
    training.fit(objective, optimizer, run, batches, epochs=2, evaluation=batches)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert re.match(r"epoch 1/2: train/loss \d.*eval/loss \d.*eval/mae \d", lines[0])


def test_what_ends_within_an_epoch_is_told_and_the_bar_counts_to_its_end(
    pieces, monkeypatch, capsys
):
    _, optimizer, run, objective, batches, _ = pieces
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    options = {"evaluation": batches, "evaluate_every": 2}
    training.fit(objective, optimizer, run, batches, steps=5, **options)
    told = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == ["epoch 1, step 2", "epoch 1", "epoch 2, step 4", "epoch 2, step 5"]
    assert "2/2" in terminal.getvalue()
    assert "2/3" not in terminal.getvalue().split("epoch 2")[-1]
    terminal.truncate(0)
    training.fit(objective, optimizer, run, iter(batches), steps=2)
    assert capsys.readouterr().out.startswith("epoch 1, step 2: train/loss")
    assert "2/2" in terminal.getvalue()
    training.fit(objective, optimizer, run, batches, steps=5, on_epoch=lambda *_: None, **options)
    assert capsys.readouterr().out == ""


def test_a_train_state_is_a_pytree_with_paths(pieces):
    run = pieces[2]
    assert jax.tree.structure(jax.tree.map(lambda x: x, run)) == jax.tree.structure(run)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(run)]
    assert ".params['dense']['weight']" in paths


def test_a_train_state_begins_with_what_it_is_given(pieces):
    net, optimizer, run, objective, batches, _ = pieces
    trained, _ = training.fit(objective, optimizer, run, batches, epochs=1, progress=False)
    create = lambda **given: training.TrainState.create(net, optimizer, jax.random.key(0), **given)
    host = jax.device_get(trained.params)
    tuned = create(params=host, state=trained.state)
    for a, b in zip(jax.tree.leaves(trained.params), jax.tree.leaves(tuned.params), strict=True):
        assert isinstance(b, jax.Array)
        np.testing.assert_array_equal(a, b)
    assert int(tuned.step) == 0
    assert int(tuned.state["counter"]["calls"]) == 3
    half = create(params=host)  # the rest is initial, and so is the key of the run
    assert int(half.state["counter"]["calls"]) == 0
    assert (tuned.key == half.key).all()
    assert (tuned.key == run.key).all()
    training.fit(objective, optimizer, tuned, batches, epochs=1, progress=False)


def test_running_means():
    mean = training.RunningMean.zeros(["a"])
    assert np.isnan(mean.compute()["a"])
    mean = jax.jit(lambda m: m.add({"a": jnp.float32(2)}, 1).add({"a": jnp.float32(5)}, 3))(mean)
    assert mean.compute() == {"a": 4.25}
    assert float(training.accuracy(jnp.eye(3), jnp.array([0, 1, 1]))) == pytest.approx(2 / 3)


def test_a_second_fit_compiles_nothing(pieces):
    _, optimizer, run, objective, batches, _ = pieces
    traces = []

    def counted(*args):
        traces.append(1)
        return objective(*args)

    for _ in range(3):
        run, _ = training.fit(
            counted, optimizer, run, batches, epochs=1, evaluation=batches, progress=False
        )
        training.evaluate(counted, run, batches)
    once = len(traces)
    training.fit(counted, optimizer, run, batches, epochs=2, evaluation=batches, progress=False)
    # the metrics' names are read anew, on abstract arrays; no step is
    assert len(traces) - once <= 2


def test_a_loss_that_is_not_finite_is_told_with_its_step(pieces):
    _, optimizer, run, objective, batches, _ = pieces
    bad = {**batches[2], "y": batches[2]["y"] * np.nan}
    with pytest.warns(RuntimeWarning, match="not finite at step 2"):
        training.fit(objective, optimizer, run, [*batches[:2], bad], epochs=2, progress=False)


def test_complex_parameters_go_downhill():
    class Turn(fn.Module):
        def __init__(self):
            self.turn = fn.Parameter(jnp.array([1 + 1j, 0.5 - 2j], jnp.complex64))

        def __call__(self, x):
            return x @ self.turn

    net = fn.functionalize(Turn())
    x = np.array([[1 + 2j, 3 - 1j], [0.5j, 2.0], [1.0, -1j]], np.complex64)
    batch = {"x": x, "y": x @ np.array([2 - 1j, 1j], np.complex64)}
    loss = lambda output, target: jnp.mean(jnp.abs(output - target) ** 2)
    objective = training.supervised(net, loss, inputs="x", targets="y")
    run = training.TrainState.create(net, optim.sgd(0.05), jax.random.key(0))
    _, history = training.fit(objective, optim.sgd(0.05), run, [batch], epochs=100, progress=False)
    assert history.series("train/loss")[-1] < 1e-3 * history.series("train/loss")[0]


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupted_epoch_is_in_the_history_but_not_reported(pieces):
    _, optimizer, run, objective, batches, _ = pieces
    told = []

    def stopping():
        yield from batches[:2]
        os.kill(os.getpid(), signal.SIGINT)
        yield batches[2]

    class Batches:
        def __iter__(self):
            return stopping()

    _, history = training.fit(
        objective, optimizer, run, Batches(), epochs=3, evaluation=batches, progress=False,
        on_epoch=lambda run, record: told.append(record),
    )  # fmt: skip
    assert history.interrupted
    assert told == []
    assert "train/loss" in history.records[0]
    assert "eval/loss" not in history.records[0]
