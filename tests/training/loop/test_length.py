"""How long a run is, when it is evaluated, and what its records are."""

import itertools
import time

import numpy as np
import pytest

from funcnet import training
from tests.training.loop.small_run import (
    BATCHES,
    Recorder,
    equal,
    fit,
    make_batches,
    records_of,
    start,
)  # fmt: skip


def steps_of(history):
    return [record["step"] for record in history.records]


def evaluated(history):
    return [record["step"] for record in history.records if "eval/loss" in record]


ONE = make_batches(1)


@pytest.mark.parametrize(("length", "made", "records"), [
    ({"epochs": 2}, 10, [5, 10]),
    ({"steps": 7}, 7, [5, 7]),
    ({"steps": 10}, 10, [5, 10]),
    ({"epochs": 2, "steps": 7}, 7, [5, 7]),
    ({"epochs": 1, "steps": 7}, 5, [5]),
    ({"epochs": 0}, 0, []),
    ({"steps": 0}, 0, []),
    ({"seconds": 0}, 0, []),
    ({"epochs": 1, "seconds": 1e9}, 5, [5]),
])  # fmt: skip
@pytest.mark.parametrize("kept", [False, True], ids=["in memory", "kept"])
def test_the_first_limit_reached_ends_a_run(length, made, records, kept, tmp_path):
    options = {"checkpoint": tmp_path} if kept else {}
    run, history = fit(evaluation=ONE, **length, **options)
    assert int(run.step) == made
    assert steps_of(history) == records
    assert evaluated(history) == records


@pytest.mark.parametrize(("every", "records", "evaluations"), [
    (None, [5, 10, 12], [5, 10, 12]),
    (1, [*range(1, 13)], [*range(1, 13)]),
    (4, [4, 5, 8, 10, 12], [4, 8, 12]),
    (5, [5, 10, 12], [5, 10, 12]),
    (100, [5, 10, 12], [12]),
    (training.Epochs(1), [5, 10, 12], [5, 10, 12]),
    (training.Epochs(2), [5, 10, 12], [10, 12]),
    (training.Epochs(9), [5, 10, 12], [12]),
])  # fmt: skip
def test_evaluations_come_when_they_are_asked_for_and_last_of_all(every, records, evaluations):
    _, history = fit(steps=12, evaluation=ONE, evaluate_every=every)
    assert steps_of(history) == records
    assert evaluated(history) == evaluations
    one, plain = Recorder(1), [0.0]
    fit(steps=12, observers=[one])
    plain = {step: read["loss"] for step, read in one.read.items()}
    for before, record in zip([0, *records], history.records, strict=False):
        window = [plain[step] for step in range(before + 1, int(record["step"]) + 1)]
        np.testing.assert_allclose(record["train/loss"], np.mean(window), rtol=1e-6)


def test_batches_without_an_end():
    run, history = fit(itertools.cycle(make_batches()), steps=13, evaluation=ONE, evaluate_every=4)
    assert int(run.step) == 13
    assert steps_of(history) == evaluated(history) == [4, 8, 12, 13]
    assert {record["epoch"] for record in history.records} == {1}
    equal(run, fit(steps=13)[0])


@pytest.mark.parametrize("first", [3, 5, 7])
def test_steps_count_over_the_calls_that_a_checkpoint_joins(first, tmp_path):
    part, _ = fit(steps=first, checkpoint=tmp_path)
    same, _ = fit(steps=first, checkpoint=tmp_path)
    equal(part, same)
    run, history = fit(steps=12, checkpoint=tmp_path)
    equal(run, fit(steps=12)[0])
    assert steps_of(history) == sorted({first, 5, 10, 12})
    # without a checkpoint each call counts its own
    assert int(fit(run=part, steps=2)[0].step) == first + 2


def test_steps_before_the_first_call_do_not_count(tmp_path):
    before, _ = fit(epochs=1)
    run, _ = fit(run=before, steps=4, checkpoint=tmp_path)
    assert int(run.step) == 9
    assert int(fit(run=before, steps=6, checkpoint=tmp_path)[0].step) == 11


class Clock:
    """A second for each batch."""

    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now

    def batches(self):
        for batch in itertools.cycle(make_batches()):
            self.now += 1.0
            yield batch


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("funcnet.training.loop.running.time", clock)
    return clock


def test_seconds_end_a_run_and_count_over_calls(clock, tmp_path):
    run, history = fit(clock.batches(), seconds=4, evaluation=ONE)
    assert int(run.step) == 4
    assert evaluated(history) == [4]
    assert history.records[0]["seconds"] == 4
    run, _ = fit(clock.batches(), seconds=4, checkpoint=tmp_path)
    clock.now += 1000  # between two calls time does not count
    made = int(run.step)
    run, _ = fit(clock.batches(), seconds=4, checkpoint=tmp_path)
    assert int(run.step) == made
    # passing over the batches of the first call takes its time, too
    run, _ = fit(clock.batches(), seconds=50, checkpoint=tmp_path)
    assert made < int(run.step) < 50


def test_a_real_clock_ends_a_run():
    began = time.monotonic()
    run, _ = fit(itertools.cycle(make_batches()), seconds=0.2)
    assert int(run.step) > 0
    assert time.monotonic() - began >= 0.2


def test_a_stop_is_in_order_evaluated_and_told():
    class Early(training.Observer):
        def __init__(self, when):
            self.when = when

        def on_evaluation(self, loop):
            if loop.step == self.when:
                loop.stop("better it gets not")

        def on_epoch(self, loop):
            if loop.step == -self.when:
                loop.stop("this epoch is enough")
                loop.stop("a later reason does not count")

    run, history = fit(epochs=9, evaluation=ONE, evaluate_every=3, observers=[Early(6)])
    assert int(run.step) == 6
    assert evaluated(history) == [3, 6]
    assert history.reason == "better it gets not"
    run, history = fit(epochs=9, evaluation=ONE, evaluate_every=3, observers=[Early(-5)])
    assert int(run.step) == 5
    assert evaluated(history) == [3, 5]
    assert history.reason == "this epoch is enough"
    assert repr(history).endswith("stopped: this epoch is enough")


def test_a_history_prints_a_table():
    _, history = fit(epochs=2, evaluation=ONE)
    lines = repr(history).splitlines()
    assert lines[0].split() == ["epoch", "step", "seconds", "train/loss", "eval/loss"]
    assert [line.split()[:2] for line in lines[1:]] == [["1", "5"], ["2", "10"]]
    assert len({len(line) for line in lines}) == 1
    _, long = fit(steps=40, evaluation=ONE, evaluate_every=1)
    lines = repr(long).splitlines()
    assert len(lines) == 14
    assert lines[7].split()[0] == "..."
    assert "no records" in repr(training.History())


def test_a_record_of_a_run_that_goes_on_is_that_of_one_without_an_end(tmp_path):
    for steps in (3, 4, 8, 11):
        fit(steps=steps, evaluation=ONE, evaluate_every=4, checkpoint=tmp_path)
    run, history = fit(steps=12, evaluation=ONE, evaluate_every=4, checkpoint=tmp_path)
    equal(run, fit(steps=12)[0])
    assert evaluated(history) == [3, 4, 8, 11, 12]
    expected = fit(steps=12, evaluation=ONE, evaluate_every=4)[1]
    by_step = {record["step"]: record for record in records_of(history)}
    for record in records_of(expected):
        assert (
            by_step[record["step"]]["eval/loss" if "eval/loss" in record else "epoch"]
            == record["eval/loss" if "eval/loss" in record else "epoch"]
        )


def test_an_epoch_that_steps_end_is_whole_if_that_is_known(tmp_path):
    one, other, unknown = Recorder(), Recorder(), Recorder()
    fit(steps=BATCHES, observers=[one])
    fit(iter(make_batches()), steps=BATCHES, observers=[other], checkpoint=tmp_path)
    fit(iter(make_batches()), steps=BATCHES, observers=[unknown])
    assert ("on_epoch", 5) in one.calls
    assert ("on_epoch", 5) in other.calls
    assert ("on_epoch", 5) not in unknown.calls  # nobody asked for the batch after


# ---- mistakes ------------------------------------------------------------------------------------


class NoObserver:
    def on_step(self, loop):
        pass


class Silent(training.Observer):
    def on_step(self, loop):
        pass


class Every(training.Observer):
    every = 0


SAME = Recorder()

MISTAKES = {
    "no length": ({"epochs": None}, ValueError, r"fit needs a length: epochs=10, steps=5000 or seconds"),
    "negative": ({"epochs": -1}, ValueError, "epochs must not be negative"),
    "negative steps": ({"steps": -1}, ValueError, "steps must not be negative"),
    "negative seconds": ({"seconds": -0.5}, ValueError, "seconds must not be negative"),
    "no number": ({"steps": "ten"}, TypeError, "steps must be a whole number; got 'ten'"),
    "a fraction": ({"epochs": 1.5}, TypeError, "epochs must be a whole number"),
    "nan": ({"seconds": float("nan")}, ValueError, "seconds must be a number"),
    "seconds in words": ({"seconds": "1h"}, TypeError, "seconds must be a number"),
    "a truth": ({"epochs": True}, TypeError, "epochs must be a whole number"),
    "every without": ({"evaluate_every": 5}, ValueError, "pass evaluation="),
    "every 0": ({"evaluate_every": 0, "evaluation": ONE}, ValueError, "evaluate_every must be greater"),
    "every text": ({"evaluate_every": "epoch", "evaluation": ONE}, TypeError, r"training\.Epochs\(2\)"),
    "one observer": ({"observers": Recorder()}, TypeError, r"observers=\[Recorder\(...\)\]"),
    "a name": ({"observers": "EarlyStop"}, TypeError, "list of training.Observer"),
    "names": ({"observers": ["EarlyStop"]}, TypeError, r"observers\[0\] must be a training.Observer"),
    "a class": ({"observers": [Recorder]}, TypeError, r"is a class, Recorder: make one of it"),
    "no observer": ({"observers": [NoObserver()]}, TypeError, "derive its class from that"),
    "a function": ({"observers": [print]}, TypeError, "write on_epoch="),
    "twice": ({"observers": [SAME, SAME]}, ValueError, r"observers\[1\] stands in the list twice"),
    "never": ({"observers": [Silent()]}, ValueError, "would never be called after a step"),
    "step 0": ({"observers": [Every()]}, ValueError, r"observers\[0\].every must be greater"),
    "no batch": ({"batches": []}, ValueError, "batches is empty"),
    "no batch to evaluate": ({"evaluation": []}, ValueError, "evaluation is empty"),
    "iterator": ({"batches": iter(make_batches()), "epochs": 2}, ValueError, "batches is an iterator"),
    "short iterator": ({"batches": iter(make_batches()), "steps": 9}, ValueError, r"ended after 5 steps"),
    "evaluation": ({"evaluation": iter(ONE), "epochs": 2}, ValueError, "evaluation is an iterator"),
    "evaluation by steps": ({"evaluation": iter(ONE), "evaluate_every": 2}, ValueError, "evaluation is an iterator"),
    "evaluation later": ({"evaluation": iter(ONE), "steps": 9}, ValueError, "empty, as after a first evaluation"),
    "metrics": ({"metrics": "accuracy"}, TypeError, "metrics= takes a list"),
    "on_epoch": ({"on_epoch": 3}, TypeError, "on_epoch"),
    "loss scale": ({"loss_scale": 2.0**16}, TypeError, "dynamic_loss_scale"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_met_with_what_to_write_instead(name):
    options, kind, message = MISTAKES[name]
    options = dict(options)
    batches = options.pop("batches", None)
    if not {"epochs", "steps", "seconds"} & options.keys():
        options["epochs"] = 1
    with pytest.raises(kind, match=message):
        fit(batches, **options)


@pytest.mark.parametrize(("name", "message"), [
    ("on_steps", "did you mean on_step?"),
    ("on_train_batch_end", "an observer's methods are on_start"),
    ("mesure", "did you mean measure?"),
    ("statedict", "did you mean state_dict?"),
])  # fmt: skip
def test_misspelt_methods_are_met_where_they_are_written(name, message):
    with pytest.raises(TypeError, match=message):
        type("Mine", (training.Observer,), {name: lambda self, loop: None})


def test_other_methods_are_an_observers_own():
    made = type("Mine", (training.Observer,), {"write": print, "_on_row": print, "stop": print})
    fit(epochs=1, observers=[made()])
    assert int(start().step) == 0
