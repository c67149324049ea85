"""Observers: called in a fixed order, at their turns, and told of every end exactly once."""

import os
import signal

import numpy as np
import pytest

from funcnet import checkpoint, training
from tests.training.loop.small_run import (
    BATCHES,
    METHODS,
    Recorder,
    equal,
    fit,
    make_batches,
    pieces,
    records_of,
    start,
)  # fmt: skip


def test_the_order_of_events_is_this():
    log = []
    observers = [Recorder(2, log, "a"), Recorder(3, log, "b")]
    fit(epochs=1, evaluation=make_batches(1), evaluate_every=2, observers=observers,
        on_epoch=lambda run, record: log.append(("callback", record["step"])))  # fmt: skip
    both = lambda method, step: [("a", method, step), ("b", method, step)]
    assert log == [
        *both("on_start", 0),
        *both("on_report", 0),
        ("a", "on_step", 2), *both("on_evaluation", 2), *both("on_report", 2),
        ("b", "on_step", 3), *both("on_report", 3),
        ("a", "on_step", 4), *both("on_evaluation", 4), *both("on_report", 4),
        *both("on_evaluation", 5), *both("on_epoch", 5), *both("on_report", 5), ("callback", 5),
        *both("on_end", 5),
    ]  # fmt: skip


def test_each_observer_has_its_own_window_of_the_metrics():
    two, three, all_along = Recorder(2), Recorder(3), Recorder(1)
    fit(epochs=2, observers=[two, three, all_along])
    each = {step: read["loss"] for step, read in all_along.read.items()}
    assert [*each] == [*range(1, 11)]
    for one in (two, three):
        for step, read in one.read.items():
            window = [each[step - before] for before in range(one.every)]
            np.testing.assert_allclose(read["loss"], np.mean(window), rtol=1e-6)


def test_metrics_are_those_of_the_last_reading_until_the_next_step():
    class Twice(training.Observer):
        every = 2

        def on_step(self, loop):
            self.first = loop.metrics
            assert loop.metrics == self.first

        def on_epoch(self, loop):
            self.last = loop.metrics

    one = Twice()
    fit(make_batches(4), epochs=1, observers=[one])
    assert one.first == one.last


# ---- ends ----------------------------------------------------------------------------------------


class Breaking:
    """Batches, at one of which something happens."""

    def __init__(self, at, happen):
        self.batches, self.at, self.happen, self.given = make_batches(), at, happen, 0

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        for batch in self.batches:
            if self.given == self.at:
                batch = self.happen(batch)
            self.given += 1
            yield batch


class Boom(Exception):
    pass


def boom(*_):
    raise Boom


def misshapen(batch):
    return {"x": batch["x"], "y": batch["y"][:, :1]}  # mse broadcasts


def send(number):
    def happen(batch):
        os.kill(os.getpid(), number)
        return batch

    return happen


class Stopping(training.Observer):
    every = 3

    def on_step(self, loop):
        loop.stop("enough")


class FailingEvaluation:
    def __iter__(self):
        yield from make_batches(1)
        raise Boom


def bad_key(batch):
    return {"x": batch["x"]}


ENDS = {
    "length": {},
    "stop": {"observers": [Stopping()]},
    "ctrl-c": {"batches": lambda: Breaking(6, send(signal.SIGINT))},
    "sigterm": {"batches": lambda: Breaking(6, send(signal.SIGTERM))},
    "step": {"batches": lambda: Breaking(6, bad_key)},
    "loader": {"batches": lambda: Breaking(6, boom)},
    "evaluation": {"evaluation": FailingEvaluation()},
}


@pytest.fixture
def signals(monkeypatch):
    """Signals as programs find them, except that the end of the process is noted only."""
    seen = []
    monkeypatch.setattr(signal, "raise_signal", seen.append)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    before_term = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield seen
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGTERM, before_term)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "in memory"])
@pytest.mark.parametrize("end", ENDS)
def test_on_end_is_called_once_and_the_run_goes_on(end, kept, tmp_path, signals):
    options = {"evaluation": make_batches(1), **ENDS[end]}
    one, other = Recorder(), Recorder()
    observers = [one, *options.pop("observers", ()), other]
    batches = options.pop("batches", make_batches)()
    folder = tmp_path / "run" if kept else None
    error = None
    try:
        run, history = fit(batches, observers=observers, checkpoint=folder, **options)
    except Exception as raised:
        error = raised
        run, history = training.rescued(raised)
    assert (error is not None) == (end in ("step", "loader", "evaluation"))
    for observer in (one, other):
        assert observer.calls.count(("on_end", int(run.step))) == 1
        assert observer.calls[-1] == ("on_end", int(run.step))
        assert observer.end[0] is error
        assert observer.end[1] == history.interrupted == (end in ("ctrl-c", "sigterm"))
    assert history.reason == ("enough" if end == "stop" else None)
    assert signals == [signal.SIGTERM] * (end == "sigterm")
    assert int(run.step) == {"length": 10, "stop": 3, "evaluation": 5}.get(
        end, 7 if history.interrupted else 6
    )
    # what was reached goes on to the numbers of a run without an end
    whole, records = fit(evaluation=make_batches(1))
    if kept:
        one, other = Recorder(), Recorder()
        again = [one, *([Stopping()] if end == "stop" else []), other]
        if end == "stop":
            return
        run, history = fit(evaluation=make_batches(1), observers=again, checkpoint=folder)
        equal(run, whole)
        assert records_of(history) == records_of(records)
        assert one.counted == other.counted == 5
    elif end not in ("length", "stop"):
        left = make_batches() * 2
        run, _ = fit(left[int(run.step) :], run, epochs=1)
        equal(run, whole)


class Failing(Recorder):
    """Fails in one of its methods, the first time from some step on."""

    def __init__(self, method, since=4):
        super().__init__()
        self.method, self.since = method, since

    def _note(self, method, loop):
        super()._note(method, loop)
        if method == self.method and (loop.step >= self.since or method == "on_start"):
            self.since = 10**9
            raise Boom(method)


@pytest.mark.parametrize("method", METHODS)
def test_an_observer_that_fails_is_named_and_the_others_are_told(method, tmp_path):
    one, failing, other = Recorder(), Failing(method), Recorder()
    options = {"evaluation": make_batches(1), "evaluate_every": 4, "checkpoint": tmp_path}
    with pytest.raises(Boom) as caught:
        fit(observers=[one, failing, other], **options)
    notes = "\n".join(caught.value.__notes__)
    assert f"observers[1], Failing.{method}" in notes
    for observer in (one, failing, other):
        ends = sum(called == "on_end" for called, _ in observer.calls)
        began = any(called == "on_start" for called, _ in observer.calls)
        assert ends == began
    assert one.end[0] is (None if method == "on_end" else caught.value)
    whole, records = fit(evaluation=make_batches(1), evaluate_every=4)
    run, history = fit(observers=[Recorder(), Failing(""), Recorder()], **options)
    equal(run, whole)
    assert records_of(history) == records_of(records)


def test_all_that_fail_at_the_end_are_told_of():
    observers = [Failing("on_end"), Recorder(), Failing("on_end")]
    with pytest.raises(Boom) as caught:
        fit(observers=observers)
    assert "observers[2], Failing.on_end raised Boom" in "\n".join(caught.value.__notes__)
    assert all(observer.calls[-1] == ("on_end", 10) for observer in observers)
    assert int(training.rescued(caught.value)[0].step) == 10


# ---- states in checkpoints -----------------------------------------------------------------------


def test_states_and_windows_go_on_where_they_were(tmp_path):
    straight = [Recorder(4), Recorder(3)]
    fit(observers=straight)
    with pytest.raises(Boom):
        fit(Breaking(5, boom), observers=[Recorder(4), Recorder(3)], checkpoint=tmp_path)
    again = [Recorder(4), Recorder(3)]
    fit(observers=again, checkpoint=tmp_path)
    for one, other in zip(again, straight, strict=True):
        assert one.counted == other.counted
        assert one.read == {step: read for step, read in other.read.items() if step > 5}


class Other(Recorder):
    pass


def test_a_changed_list_of_observers_is_told_of(tmp_path):
    fit(epochs=1, observers=[Other(), Recorder()], checkpoint=tmp_path)
    with pytest.warns(UserWarning, match="keeps the state of Other, which observers= lacks"):
        fit(observers=[one := Recorder()], checkpoint=tmp_path)
    assert one.counted == 5
    with pytest.warns(UserWarning, match=r"knows no Other for observers\[0\]"):
        fit(epochs=3, observers=[Other(), Recorder()], checkpoint=tmp_path)


def test_a_state_that_json_cannot_hold_is_named(tmp_path):
    class Odd(training.Observer):
        def state_dict(self):
            return {"array": np.zeros(2)}

    with pytest.raises(TypeError, match=r"observers\[0\], Odd.state_dict.*JSON"):
        fit(observers=[Odd()], checkpoint=tmp_path)


# ---- what observers measure ----------------------------------------------------------------------


class Norm(training.Observer):
    def __init__(self, every):
        self.every, self.read = every, {}

    def measure(self, before, grads, updates):
        weight = lambda tree: tree["dense"]["weight"]
        return {
            "step_before": before.step,
            "gradient": abs(weight(grads)).sum(),
            "update": abs(weight(updates)).sum(),
        }

    def on_step(self, loop):
        self.read[loop.step] = loop.metrics


def by_hand(steps):
    """Parameters, gradients and updates of each step, without fit."""
    import jax

    objective, optimizer = pieces()
    run, found = start(), {}
    step = jax.jit(training.make_train_step(objective, optimizer))
    for number, batch in zip(range(steps), make_batches() * 2, strict=False):
        loss = lambda params: objective(
            params, run.state, batch, jax.random.fold_in(run.key, run.step), True
        )[0]
        grads = jax.grad(loss)(run.params)
        after, _ = step(run, batch)
        weight = lambda run: run.params["dense"]["weight"]
        found[number + 1] = (
            abs(grads["dense"]["weight"]).sum(),
            abs(weight(after) - weight(run)).sum(),
        )
        run = after
    return found


def test_gradients_and_updates_are_measured_within_the_step(tmp_path):
    two, three, plain = Norm(2), Norm(3), Recorder(6)
    fit(observers=[two, three, plain])
    expected = by_hand(10)
    for one in (two, three):
        for step, read in one.read.items():
            assert read["step_before"] == step - 1
            np.testing.assert_allclose(read["gradient"], expected[step][0], rtol=1e-4)
            np.testing.assert_allclose(read["update"], expected[step][1], rtol=1e-3)
    assert {"loss", "gradient", "update", "step_before"} == plain.read[6].keys()
    with pytest.raises(Boom):
        fit(Breaking(5, boom), observers=[Norm(3)], checkpoint=tmp_path)
    again = Norm(3)
    fit(observers=[again], checkpoint=tmp_path)
    assert again.read == {step: read for step, read in three.read.items() if step > 5}


def test_what_is_measured_has_to_be_scalars():
    class Wide(Norm):
        def measure(self, before, grads, updates):
            return {"weight": grads["dense"]["weight"]}

    with pytest.raises(ValueError, match=r"'weight' has shape \(2, 3\)"):
        fit(observers=[Wide(2)])


def test_the_newest_checkpoint_is_whole_after_an_error(tmp_path):
    with pytest.raises(Boom):
        fit(Breaking(3, boom), checkpoint=tmp_path)
    latest = checkpoint.Checkpointer(tmp_path).latest()
    assert latest is not None
    assert latest.step == 3


# ---- epochs --------------------------------------------------------------------------------------


class Epochs(training.Observer):
    """Notes the epoch at each turn."""

    every = BATCHES

    def __init__(self):
        self.seen = []

    def _note(self, loop):
        self.seen.append(loop.epoch)

    on_start = on_step = on_epoch = on_end = _note


def test_the_epoch_is_the_one_under_way_also_at_the_end(tmp_path):
    one = Epochs()
    fit(epochs=2, observers=[one], checkpoint=tmp_path)
    assert one.seen == [1, 1, 1, 2, 2, 2]
    again = Epochs()
    fit(epochs=2, observers=[again], checkpoint=tmp_path)
    assert again.seen == [2, 2]  # nothing was left to do
    more = Epochs()
    fit(epochs=3, observers=[more], checkpoint=tmp_path)
    assert more.seen == [3, 3, 3, 3]


def test_a_run_that_ends_within_an_epoch_says_which():
    one = Epochs()
    fit(steps=BATCHES + 2, observers=[one])
    assert one.seen == [1, 1, 1, 2]
