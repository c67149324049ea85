"""Each observer in each kind of run, however it ends: it changes nothing, and what it leaves can be read."""

import csv
import functools
import json

import jax
import pytest

import funcnet as fn
from funcnet.training.observers.append_file import AppendFile
from funcnet.training.observers.tensorboard_events import records_of
from tests.training.observers.runs import (
    At,
    by_hand,
    equal,
    fail,
    fit,
    forever,
    interrupt,
    makers,
    stop,
)

OBSERVERS = [
    "CSVLog", "Checkpoints", "EarlyStop", "GradientNorms", "JSONLog", "KeepBest", "LearningRate", "LivePlot",
    "Profile", "Samples", "TensorBoardLog", "Throughput",
]  # fmt: skip

ENDINGS = {
    "length": {},
    "steps": {"steps": 7, "batches": None, "evaluate_every": 3},
    "stop": {"at": stop},
    "interrupted": {"at": interrupt},
    "error": {"at": fail},
    "mesh": {"mesh": True},
    "no evaluation": {"evaluation": None},
    "by hand": {"objective": by_hand},
}

SOME = ["steps", "stop", "interrupted", "error", "mesh"]
"""Those that CI makes; the others take a compilation each, or end as one of these does."""


def once(observers, at=None, mesh=None, **options):
    """Make a run as an ending says; return it, and an error if there was one."""
    extra = [At(4, at)] if at is not None else []
    if mesh:
        options["mesh"] = fn.parallel.mesh(data=2, devices=jax.devices()[:2])
    if "batches" in options:
        options["batches"] = forever()
    try:
        run, _ = fit([*observers, *extra], **options)
    except RuntimeError as error:
        if str(error) != "on purpose":
            raise
        run, _ = fn.training.rescued(error)
    return run


@functools.cache
def plain(ending):
    return once([], **ENDINGS[ending])


def made(names, folder):
    found = makers(folder)
    if names == "all":
        return {name: make() for name, make in found.items()}
    if names not in found:
        pytest.skip("no tensorboard")
    return {names: found[names]()}


def pytest_generate_tests(metafunc):
    """All observers at once, in CI, in some kinds of runs; with --grid=full each alone, too, in all kinds."""
    full = metafunc.config.getoption("grid") == "full"
    if "names" in metafunc.fixturenames:
        metafunc.parametrize("names", ["all", *(OBSERVERS if full else [])])
    if "ending" in metafunc.fixturenames:
        metafunc.parametrize("ending", ENDINGS if full else SOME)


def test_observers_change_nothing_and_leave_readable_files(tmp_path, names, ending):
    observers = made(names, tmp_path)
    logs = [fn.training.JSONLog(tmp_path / "all.jsonl", every=2)]
    run = once([*logs, *observers.values()], **ENDINGS[ending])
    equal(run, plain(ending))
    check_files(tmp_path, int(run.step))
    for name, observer in observers.items():
        check_left(name, observer, tmp_path, int(run.step))


def test_a_run_that_goes_on_ends_like_one_that_never_stopped(tmp_path, names):
    whole = tmp_path / "whole"
    folder = tmp_path / "parts"
    run, _ = fit([*made(names, whole).values()], epochs=3, checkpoint=whole / "run")
    keep = fn.checkpoint.Checkpointer(folder / "run", every=2)
    with pytest.raises(RuntimeError, match="on purpose"):
        fit([*made(names, folder).values(), At(9, fail)], epochs=3, checkpoint=keep)
    observers = made(names, folder)
    again, _ = fit([*observers.values()], epochs=3, checkpoint=keep)
    equal(run, again)
    check_files(folder, 15)
    for name, observer in observers.items():
        check_left(name, observer, folder, 15)


def check_files(folder, step):
    """Read every file, and see that none is still open."""
    for path in folder.rglob("*.csv"):
        AppendFile(path, "a test").close()
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        steps = [int(row["step"]) for row in rows]
        assert steps == sorted(set(steps))
        assert steps[-1] == step
    for path in folder.rglob("*.jsonl"):
        AppendFile(path, "a test").close()
        steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
        assert steps == sorted(set(steps))
    for path in folder.rglob("*.funcnet"):
        AppendFile(path, "a test").close()
        assert b"".join(whole for whole, _ in records_of(path.read_bytes())) == path.read_bytes()


def check_left(name, observer, folder, step):
    path = folder / "all.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    names = set().union(*rows) if rows else set()
    if name == "KeepBest" and observer.best is None:
        assert step == 4  # interrupted, or failed, before there was a record
    elif name == "KeepBest":
        assert 0 < int(observer.run.step) <= step
        assert int(observer.run.step) == observer.best_step
    elif name == "Checkpoints":
        assert fn.checkpoint.Checkpointer(folder / "copies").steps() == list(range(3, step + 1, 3))
    elif name == "LivePlot":
        assert (folder / "plot.png").read_bytes().endswith(b"IEND\xaeB`\x82")
    elif name == "Profile":
        assert list((folder / "trace").rglob("*.xplane.pb")) or rows == []
    elif rows:
        expected = {
            "LearningRate": {"lr"},
            "GradientNorms": {"gradient_norm/all", "gradient_norm/0", "update_ratio/2"},
            "Samples": {"samples/norm", "samples/note"},
            "Throughput": {"samples_per_second", "seconds_per_step", "tokens_per_second", "peak_share"},
        }.get(name, set())  # fmt: skip
        assert expected <= names
