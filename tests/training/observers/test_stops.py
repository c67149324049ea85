"""EarlyStop, KeepBest and Checkpoints: the same steps whether a run was interrupted or not."""

import functools
import itertools
import math

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet.checkpoint import Checkpointer
from funcnet.training import Checkpoints, EarlyStop, History, KeepBest, Loop
from tests.training.observers.runs import At, batches, equal, fail, fit, new_run

NAN = math.nan


def shown(observer, values, name="eval/loss", began=0, first=1):
    """Show an observer records with these values, as a loop would; return the step at which it stops."""
    loop = Loop(None, 0, None, None, None, History(), settings={"evaluation": True}, began=began)
    observer.on_start(loop)
    for step, value in enumerate(values, first):
        loop.step = step
        loop.record = {"step": step, "train/loss": 1.0, name: value}
        observer.on_evaluation(loop)
        observer.on_epoch(loop)  # the same record again
        if loop.reason is not None:
            return step, loop.reason
    return None, None


def expected_stop(values, patience, mode, min_delta, nan):
    """Say at which value a run stops, written as plainly as can be."""
    best, waited = None, 0
    for step, value in enumerate(values, 1):
        if math.isnan(value) and nan:
            return step
        signed = value if mode == "max" else -value
        if not math.isnan(value) and (best is None or signed > best + min_delta):
            best, waited = signed, 0
        else:
            waited += 1
        if waited >= patience:
            return step
    return None


VALUES = {
    "falls": [5, 4, 3, 2, 1, 0.5, 0.25], "rises": [1, 2, 3, 4, 5, 6, 7], "flat": [1] * 7,
    "nan": [3, 2, NAN, 1, NAN, NAN, NAN],
    "nan first": [NAN, 3, 2, 1, 0, 0, 0], "infinite": [math.inf, math.inf, 3, math.inf, 2, -math.inf, 0],
    "waves": [3, 2, 4, 1.9, 5, 1.85, 6],
}  # fmt: skip
SETTINGS = [*itertools.product((1, 2, 3), ("min", "max"), (0.0, 0.5), (True, False))]


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(("patience", "mode", "delta", "nan"), SETTINGS)
def test_early_stop_stops_where_a_plain_count_says(name, patience, mode, delta, nan):
    values = VALUES[name]
    expected = expected_stop(values, patience, mode, delta, nan)
    settings = {"patience": patience, "mode": mode, "min_delta": delta, "nan": nan}
    assert shown(EarlyStop("eval/loss", **settings), values)[0] == expected
    for cut in range(1, (expected or len(values)) - 1):  # interrupted, and gone on with
        one = EarlyStop("eval/loss", **settings)
        shown(one, values[:cut])
        other = EarlyStop("eval/loss", **settings)
        other.load_state_dict(one.state_dict())
        step, _ = shown(other, values[cut:], began=cut, first=cut + 1)
        assert step == expected
        assert other.state_dict() == {**other.state_dict(), "best": other.best}


@pytest.mark.parametrize(("name", "mode"), [
    ("eval/loss", "min"), ("eval/accuracy", "max"), ("train/mse", "min"), ("eval/error_rate", "min"),
    ("eval/auc", "max"),
])  # fmt: skip
def test_the_mode_follows_from_the_name(name, mode):
    assert EarlyStop(name).monitor.mode == mode == KeepBest(name).monitor.mode


def test_fit_ends_and_says_why():
    run, history = fit([EarlyStop("eval/loss", patience=2, mode="max")], epochs=50)
    assert int(run.step) < 250
    assert history.reason.startswith("eval/loss has not improved on ")


def test_a_loss_that_is_no_number_stops_at_a_step():
    bad = batches(5)
    bad[2] = bad[2] | {"x": np.full_like(bad[2]["x"], np.nan)}
    with pytest.warns(RuntimeWarning, match="not finite"):
        run, history = fit([EarlyStop("train/loss", every=1)], batches=bad, evaluation=None)
    assert int(run.step) == 3
    assert "loss is nan at step 3" in history.reason


def test_a_metric_that_never_comes_is_an_error_that_lists_them():
    for observer in (EarlyStop("eval/loss"), KeepBest("eval/loss")):
        with pytest.raises(KeyError, match=r"give fit evaluation=.*train/loss"):
            fit([At(1, fail), observer], evaluation=None)  # before the first step
    with pytest.raises(KeyError, match=r"watches 'eval/acc', but the metrics are .*eval/accuracy"):
        fit([KeepBest("eval/acc")])
    with pytest.raises(KeyError, match="'loss'"):
        fit([EarlyStop("loss")])
    # the first epoch ends without an evaluation, which comes later
    fit([EarlyStop("eval/loss")], evaluate_every=7, epochs=2)


@pytest.mark.parametrize(("settings", "error"), [
    ({"patience": 0}, ValueError), ({"patience": 1.5}, TypeError), ({"mode": "least"}, ValueError),
    ({"min_delta": -1}, ValueError), ({"monitor": 3}, TypeError), ({"every": 0}, ValueError),
])  # fmt: skip
def test_wrong_settings_are_met_where_they_are_written(settings, error):
    with pytest.raises(error):
        EarlyStop(**settings)


# ---- interrupted and gone on with ----------------------------------------------------------------


@functools.cache
def uninterrupted():
    stop, best = EarlyStop("eval/loss", patience=2, mode="max"), KeepBest("eval/loss", mode="max")
    run, _ = fit([stop, best], epochs=50, evaluate_every=2)
    return run, stop.state_dict(), best.best, best.run


@pytest.mark.parametrize("every", [1, 2, 3, 5])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_resumed_run_stops_at_the_same_step(tmp_path, at, every):
    """With checkpoints at each of some steps, and an error after some other."""
    run, state, value, best_run = uninterrupted()
    last = int(run.step)
    keep = Checkpointer(tmp_path / "run", every=every)

    def observers():
        stop = EarlyStop("eval/loss", patience=2, mode="max")
        return stop, KeepBest("eval/loss", tmp_path / "best", mode="max")

    if at < last:
        with pytest.raises(RuntimeError, match="on purpose"):
            fit([*observers(), At(at, fail)], epochs=50, evaluate_every=2, checkpoint=keep)
    stop, best = observers()
    again, _ = fit([stop, best], epochs=50, evaluate_every=2, checkpoint=keep)
    equal(run, again)
    assert stop.state_dict() == state
    assert best.best == value
    equal(best.run, best_run)


def test_a_run_that_was_stopped_stays_so_until_there_is_more_patience(tmp_path):
    """The same call again is whole at once, as it is where its epochs are made."""
    options = {"epochs": 50, "evaluate_every": 2, "checkpoint": tmp_path}
    stop = functools.partial(EarlyStop, "eval/loss", mode="max")
    run, history = fit([stop(patience=2)], **options)
    again, same = fit([stop(patience=2)], **options)
    equal(run, again)
    assert (same.reason, same.records) == (history.reason, history.records)
    longer, _ = fit([stop(patience=4)], **options)
    assert int(longer.step) > int(run.step)


def test_an_observer_that_stopped_a_run_lets_another_call_train():
    stop = EarlyStop("eval/loss", patience=2, mode="max")
    run, _ = fit([stop], epochs=50, evaluate_every=2)
    further, _ = fit([stop], run=run, epochs=50, evaluate_every=2)
    assert int(further.step) > int(run.step)


# ---- KeepBest ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["memory", "folder"])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_run_is_that_of_the_best_record(tmp_path, where, mode):
    best = KeepBest("eval/loss", None if where == "memory" else tmp_path / "best", mode=mode)
    run, history = fit([best], epochs=4, evaluate_every=3)
    choose = min if mode == "min" else max
    record = choose(
        (r for r in history.records if "eval/loss" in r), key=lambda record: record["eval/loss"]
    )
    assert (best.best, best.best_step) == (record["eval/loss"], record["step"])
    assert int(best.run.step) == record["step"]
    equal(best.run, fit([], steps=record["step"])[0])
    again = best.run  # what is made of it stays whole
    fit([], run=best.run, epochs=1)
    equal(again, best.run)
    if where == "folder":
        assert Checkpointer(tmp_path / "best").steps() == [record["step"]]
        equal(fn.training.resume(tmp_path / "best", new_run()), best.run)
    assert int(run.step) == 20


def test_memory_alone_cannot_go_on_in_another_process(tmp_path):
    with pytest.raises(ValueError, match=r"KeepBest\(\.\.\., folder="):
        fit([KeepBest("eval/loss")], checkpoint=tmp_path)


@pytest.mark.parametrize("make", [
    lambda folder: KeepBest("eval/loss", folder), lambda folder: Checkpoints(folder, every=1),
    lambda folder: Checkpoints(Checkpointer(folder), every=1),
])  # fmt: skip
def test_a_folder_that_is_fits_own_is_refused(tmp_path, make):
    with pytest.raises(ValueError, match="a folder of its own"):
        fit([make(tmp_path / "run")], checkpoint=tmp_path / "run")


def test_a_best_run_that_is_gone_is_an_error(tmp_path):
    best = KeepBest("eval/loss", tmp_path / "best")
    with pytest.raises(RuntimeError, match="no best run yet"):
        _ = best.run
    fit([best])
    for step in Checkpointer(tmp_path / "best").steps():
        fn.checkpoint.runs.directory.remove_step(tmp_path / "best", step)
    with pytest.raises(RuntimeError, match="no longer in"):
        _ = best.run


def test_the_best_run_of_a_mesh_comes_back_to_it(tmp_path):
    mesh = fn.parallel.mesh(data=2, devices=jax.devices()[:2])
    best = KeepBest("train/loss", tmp_path / "best")
    run, _ = fit([best], mesh=mesh)
    for one, other in zip(jax.tree.leaves(best.run), jax.tree.leaves(run), strict=True):
        assert one.sharding == other.sharding


# ---- Checkpoints ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "steps"), [
    ({"every": 4}, [4, 8, 12]), ({"epochs": 2}, [10]), ({"every": 4, "epochs": 1}, [4, 5, 8, 10, 12, 15]),
    ({"every": 1, "keep": 2}, [14, 15]), ({"seconds": 1e9}, []), ({"seconds": 1e-9}, [*range(1, 16)]),
])  # fmt: skip
def test_checkpoints_are_of_the_steps_asked_for(tmp_path, settings, steps):
    fit([Checkpoints(tmp_path / "copies", **settings)], epochs=3)
    found = Checkpointer(tmp_path / "copies")
    assert found.steps() == steps
    for step in steps:
        tree, _ = found.restore({"run": new_run()}, step=step)
        equal(tree["run"], fit([], steps=step)[0])


def test_checkpoints_have_the_metrics_of_their_step(tmp_path):
    keep = Checkpointer(tmp_path / "copies", keep=1, best="eval/loss")
    _, history = fit([Checkpoints(keep, epochs=1)], epochs=3)
    best = min(history.series("eval/loss"))
    assert keep.best().metrics["eval/loss"] == best
    fit([Checkpoints(tmp_path / "more", every=2)], epochs=1)
    with Checkpointer(tmp_path / "more") as found:
        assert found.latest().metrics == {}  # no record was of step 4


@pytest.mark.parametrize("make", [
    lambda folder: KeepBest("train/loss", folder, mode="max"), lambda folder: Checkpoints(folder, every=2),
])  # fmt: skip
def test_another_run_does_not_mix_with_what_is_there(tmp_path, make):
    fit([make(tmp_path)], epochs=3)
    before = Checkpointer(tmp_path).steps()
    (tmp_path / "notes.txt").write_text("mine")
    fit([make(tmp_path)], epochs=1)
    assert Checkpointer(tmp_path / "earlier-1").steps() == before
    assert max(Checkpointer(tmp_path).steps()) <= 5
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_checkpoints_say_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match="how often"):
        Checkpoints(tmp_path)
    with pytest.raises(ValueError, match="greater than zero"):
        Checkpoints(tmp_path, seconds=0)
