"""CSVLog and JSONLog: what their files hold, and whose they are."""

import csv
import functools
import io
import json
import math
import subprocess
import sys
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet.checkpoint.runs.directory import remove_step
from funcnet.training import CSVLog, JSONLog, Observer
from tests.training.observers.runs import At, batches, equal, fail, fit

LOGS = [CSVLog, JSONLog]


def rows_of(path):
    """Read a file as Python's own readers do; each number as a float."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [{n: float(v) for n, v in row.items() if v != ""} for row in rows]
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


def path_of(log, folder, name="log"):
    return folder / f"{name}{'.csv' if log is CSVLog else '.jsonl'}"


class Reports(Observer):
    """Report values at some steps."""

    def __init__(self, values, every=1):
        self.values, self.every = values, every

    def on_step(self, loop):
        loop.report(self.values(loop) if callable(self.values) else self.values)


@pytest.mark.parametrize("log", LOGS)
def test_a_row_holds_what_there_is_at_its_step(tmp_path, log):
    path = path_of(log, tmp_path)
    _, history = fit([log(path, every=2), Reports({"seven": 7}, every=5)], batches=batches(5))
    rows = rows_of(path)
    assert [row["step"] for row in rows] == [2, 4, 5, 6, 8, 10]
    for row in rows:
        assert ("train/loss" in row) == (row["step"] % 2 == 0)
        assert ("eval/loss" in row) == (row["step"] % 5 == 0)
        assert ("seven" in row) == (row["step"] % 5 == 0)
    assert [row["eval/loss"] for row in rows if "eval/loss" in row] == history.series("eval/loss")
    assert [row["epoch"] for row in rows] == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("log", LOGS)
def test_without_every_the_rows_are_those_of_the_history(tmp_path, log):
    path = path_of(log, tmp_path)
    _, history = fit([log(path, every=None)], evaluate_every=2)
    for row, record in zip(rows_of(path), history.records, strict=True):
        assert {n: v for n, v in row.items() if n != "seconds"} == {
            n: v for n, v in record.items() if n != "seconds"
        }


@pytest.mark.parametrize("log", LOGS)
def test_the_order_of_observers_does_not_matter(tmp_path, log):
    found = []
    for place, before in enumerate((True, False)):
        path = path_of(log, tmp_path, f"{place}")
        others = [Reports({"a": 1.5}, every=3), fn.training.LearningRate(every=2)]
        one = log(path, every=2)
        fit([one, *others] if before else [*others, one])
        found.append([{n: v for n, v in row.items() if n != "seconds"} for row in rows_of(path)])
    assert found[0] == found[1]
    assert {"a", "lr", "train/loss", "eval/loss"} <= set().union(*found[0])


class ReportsAtTheEnd(Observer):
    def on_end(self, loop):
        loop.report({"whole": loop.step})


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("first", [True, False])
def test_what_is_reported_at_the_end_is_in_the_last_row(tmp_path, log, first):
    path = path_of(log, tmp_path)
    fit([log(path), ReportsAtTheEnd()] if first else [ReportsAtTheEnd(), log(path)])
    rows = rows_of(path)
    assert [row["step"] for row in rows if "whole" in row] == [rows[-1]["step"]]
    assert rows[-1]["whole"] == rows[-1]["step"] == 10


@pytest.mark.parametrize("log", LOGS)
def test_what_is_reported_under_a_metrics_name_stands_beside_it(tmp_path, log):
    path = path_of(log, tmp_path)
    fit([log(path, every=2), Reports({"loss": 7.0}, every=2)], evaluation=None)
    for row in rows_of(path):
        assert row["train/loss"] < 7
        assert row.get("loss", 7) == 7


AWKWARD = [
    "a/b", "a,b", 'a"b', "a'b", "a b", "äöü 損失 ✓", "a;b\tc", "a\nb", "a\r\nb", "=1+1", "", "#", "\\", "\ud800",
    " leading", "nan", "None", "a\u2028b",
]  # fmt: skip


@pytest.mark.parametrize("log", LOGS)
def test_awkward_names_come_back(tmp_path, log):
    path = path_of(log, tmp_path)
    values = {name: float(place) for place, name in enumerate(AWKWARD)}
    fit([log(path, every=None), Reports(values, every=4)], epochs=1)
    fit([log(path, every=None), Reports(values, every=4)], run=at(5), epochs=1)
    expected = {name.replace("\ud800", "?"): value for name, value in values.items()}
    with path.open(newline="", encoding="utf-8") as file:
        content = file.read()
    if log is CSVLog:
        rows = list(csv.DictReader(io.StringIO(content, newline="")))
        rows = [{n: float(v) for n, v in row.items() if v} for row in rows]
    else:
        rows = [json.loads(line) for line in content.removesuffix("\n").split("\n")]
    having = [row for row in rows if row["step"] in (4, 8)]
    assert len(having) == 2
    for row in having:
        assert {n: v for n, v in row.items() if n in expected} == expected


@functools.cache
def at(step):
    """A run that has made some steps."""
    run, _ = fit([], steps=step, evaluation=None)
    assert int(run.step) == step
    return run


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e-300, -0.0, 1 / 3, 2**53])
def test_numbers_come_back_by_float(tmp_path, log, value):
    path = path_of(log, tmp_path)
    fit([log(path, every=None), Reports({"x": value}, every=2)], epochs=1, evaluation=None)
    found = [float(row["x"]) for row in rows_of(path) if "x" in row]
    assert len(found) == 2
    for one in found:
        assert np.array_equal(one, float(value), equal_nan=True)
        assert math.copysign(1, one) == math.copysign(1, value) or math.isnan(value)


def test_numbers_of_all_kinds_are_written_and_others_left_out(tmp_path):
    values = {
        "int": 3, "bool": True, "np": np.float32(0.5), "jax": jnp.int32(4), "bf": jnp.bfloat16(2), "text": "a\nb",
        "picture": np.zeros((2, 2)), "none": None,
    }  # fmt: skip
    fit(
        [CSVLog(tmp_path / "a.csv", None), JSONLog(tmp_path / "a.jsonl", None), Reports(values)],
        epochs=1, batches=batches(1), evaluation=None,
    )  # fmt: skip
    row = json.loads((tmp_path / "a.jsonl").read_text())
    kept = {n: row[n] for n in values if n in row}
    assert kept == {"int": 3, "bool": 1, "np": 0.5, "jax": 4, "bf": 2.0, "text": "a\nb"}
    (row,) = rows_of_csv_text(tmp_path / "a.csv")
    assert {n: row[n] for n in values if n in row} == {
        "int": "3", "bool": "1", "np": "0.5", "jax": "4", "bf": "2.0"
    }  # fmt: skip


def rows_of_csv_text(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_pandas_like_readers_get_a_rectangle(tmp_path):
    fit([CSVLog(tmp_path / "a.csv", every=2), Reports({"late": 1.0}, every=7)])
    with (tmp_path / "a.csv").open(newline="") as file:
        widths = {len(row) for row in csv.reader(file)}
    assert len(widths) == 1


# ---- whose the file is ---------------------------------------------------------------------------


@pytest.mark.parametrize("log", LOGS)
def test_a_run_that_goes_on_goes_on_with_its_file(tmp_path, log):
    whole, parts = path_of(log, tmp_path, "whole"), path_of(log, tmp_path, "parts")
    fit([log(whole, every=2)], epochs=4)
    run, _ = fit([log(parts, every=2)], epochs=2)
    fit([log(parts, every=2)], run=run, epochs=2)
    assert without_time(whole, epoch=False) == without_time(parts, epoch=False)


def without_time(path, epoch=True):
    left = {"seconds"} if epoch else {"seconds", "epoch"}
    return [{n: v for n, v in row.items() if n not in left} for row in rows_of(path)]


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_a_resumed_run_leaves_each_step_once(tmp_path, log, every):
    """An error at step 8, with the latest checkpoint at some step before, then the same call again."""
    whole, parts = path_of(log, tmp_path, "whole"), path_of(log, tmp_path, "parts")
    fit([log(whole, every=2)], epochs=3, checkpoint=tmp_path / "other")
    keep = fn.checkpoint.Checkpointer(tmp_path / "run", every=every, keep=None)
    with pytest.raises(RuntimeError, match="on purpose"):
        fit([log(parts, every=2), At(8, fail)], epochs=3, checkpoint=keep)
    for step in keep.steps()[1:][::-1]:  # as if the process had been killed before it saved these
        if step > 6:
            remove_step(keep.directory, step)
    run, _ = fit([log(parts, every=2)], epochs=3, checkpoint=keep)
    assert without_time(parts) == without_time(whole)
    equal(run, fit([], epochs=3)[0])


@pytest.mark.parametrize("log", LOGS)
def test_a_new_run_leaves_the_old_file_beside_its_own(tmp_path, log):
    path = path_of(log, tmp_path)
    for number in range(3):
        fit([log(path, every=None), Reports({"number": number}, every=5)], epochs=1)
    for name, number in (("log.1", 0), ("log.2", 1), ("log", 2)):
        (row,) = rows_of(path_of(log, tmp_path, name))
        assert row["number"] == number


@pytest.mark.parametrize("log", LOGS)
def test_two_logs_in_one_file_are_an_error_that_teaches(tmp_path, log):
    path = path_of(log, tmp_path)
    with pytest.raises(RuntimeError, match=r"writes into .*give each \w+Log a path of its own"):
        fit([log(path), log(path)])
    fit([log(path)])  # the lock is gone


def test_two_runs_at_a_time_in_one_file_are_an_error(tmp_path):
    code = """
        import fcntl, sys
        file = open(sys.argv[1], "a")
        fcntl.flock(file, fcntl.LOCK_EX)
        print("open", flush=True)
        sys.stdin.read()
    """
    path = tmp_path / "a.csv"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout.readline() == "open\n"
        with pytest.raises(RuntimeError, match="another run"):
            fit([CSVLog(path)])
        other.stdin.close()
    fit([CSVLog(path)])


@pytest.mark.parametrize(("log", "content"), [
    (CSVLog, b"name,age\nada,36\n"), (CSVLog, b"\xff\xfe\x00"+b"\n"), (JSONLog, b"[1, 2]\n"), (JSONLog, b"text\n"),
    (CSVLog, b"step,epoch,seconds,a\nx,1,1,1\n"), (JSONLog, b'{"epoch": 1}\n'),
])  # fmt: skip
def test_a_file_that_is_no_log_stays_as_it_is(tmp_path, log, content):
    path = path_of(log, tmp_path)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"would go on with .*another path"):
        fit([log(path)], run=at(2))
    assert path.read_bytes() == content


@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("torn", [b"4", b"4,1,0.2", b'{"step": 4, "epo', b"\xc3"])
def test_what_a_killed_process_began_to_write_is_removed(tmp_path, log, torn):
    path = path_of(log, tmp_path)
    fit([log(path, every=2)], steps=2, evaluation=None)
    before = path.read_bytes()
    path.write_bytes(before + torn)
    fit([log(path, every=2)], run=at(2), steps=2, evaluation=None)
    assert path.read_bytes().startswith(before)
    assert [row["step"] for row in rows_of(path)] == [2, 4]


def test_half_a_header_is_removed(tmp_path):
    (tmp_path / "a.csv").write_text("step,epo")
    fit([CSVLog(tmp_path / "a.csv", every=2)], run=at(2), steps=2, evaluation=None)
    assert [row["step"] for row in rows_of(tmp_path / "a.csv")] == [4]


def test_an_unwritable_place_is_met_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    for log in LOGS:
        with pytest.raises(OSError, match=f"{log.__name__} cannot open its file") as caught:
            fit([log(tmp_path / "file" / "log.csv")])
        assert "on_start" in "".join(caught.value.__notes__)
    with pytest.raises(TypeError, match="path of a file"):
        CSVLog(3)


FULL = """
    import resource, signal, sys
    from tests.training.observers.runs import *
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    none = resource.RLIM_INFINITY
    for name in ("CSVLog", "JSONLog"):
        path = __import__("pathlib").Path(sys.argv[1], name)
        def full(loop):
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, none))
        try:
            fit([getattr(fn.training, name)(path, every=1), At(4, full)], epochs=4)
        except OSError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (none, none))
            run, history = fn.training.rescued(error)
            print("STEP", int(run.step), error)
"""


def test_a_full_disk_is_a_clear_error_and_nothing_is_lost(tmp_path):
    code = textwrap.dedent(FULL)
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert len(said) == 2, done.stderr
    for line, name in zip(said, ("CSVLog", "JSONLog"), strict=True):
        assert int(line.split()[1]) >= 4
        assert f"{name} cannot write its file" in line
        assert "make room" in line
        content = (tmp_path / name).read_text()
        assert content.endswith("\n")  # half a row was taken back
        assert len(content.splitlines()) >= 3
    lines = (tmp_path / "JSONLog").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, len(lines) + 1))


def test_reserved_names_are_refused():
    with pytest.raises(ValueError, match="has a step of its own"):
        fit([Reports({"step": 3})])


def test_other_processes_do_not_write(tmp_path):
    class Second(Observer):
        def on_start(self, loop):
            loop.first = False

    fit([Second(), CSVLog(tmp_path / "a.csv", every=1), JSONLog(tmp_path / "a.jsonl", every=1)])
    assert not any(tmp_path.iterdir())
