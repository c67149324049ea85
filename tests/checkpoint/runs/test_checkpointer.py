"""The steps of a run: which are kept, which is latest and best, and what happens beside the training."""

import errno
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet.checkpoint import Checkpointer
from funcnet.checkpoint.runs import step_writer
from tests.checkpoint.same import assert_same

ROOT = Path(__file__).parents[3]
KINDS = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def tree_of(step):
    return {"w": jnp.full((3, 2), step, jnp.float32), "host": np.full(4, step), "step": step}


def save_and_wait(checkpointer, step):
    checkpointer.save(step, tree_of(step))
    checkpointer.wait()


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def gate(monkeypatch):
    """Holds back the writer until it is set."""
    opened, write = threading.Event(), step_writer.write_safetensors

    def held_back(*arguments):
        assert opened.wait(30)
        return write(*arguments)

    monkeypatch.setattr(step_writer, "write_safetensors", held_back)
    yield opened
    opened.set()


# ---- which steps there are


@KINDS
def test_a_step_comes_back_with_all_that_was_saved(tmp_path, asynchronous):
    metadata = {"note": "ü", "nested": {"list": [1, None, 0.5]}}
    with Checkpointer(tmp_path / "deep" / "run", asynchronous=asynchronous) as checkpointer:
        assert checkpointer.latest() is None
        assert checkpointer.restore() is None
        assert checkpointer.steps() == []
        checkpointer.save(
            np.int32(7),
            tree_of(7),
            metrics={"loss": jnp.asarray(0.5), "bad": np.nan},
            metadata=metadata,
        )
        saved = checkpointer.latest()
    assert saved.step == 7
    assert saved.metadata == metadata
    assert saved.metrics["loss"] == 0.5
    assert np.isnan(saved.metrics["bad"])
    assert saved.path == tmp_path / "deep" / "run" / "step-00000007"
    assert abs(time.time() - saved.when.timestamp()) < 600
    assert_same(saved.load(), tree_of(7))
    assert_same(saved.load(tree_of(0)), tree_of(7))
    assert_same(saved.load(select="w"), {"w": tree_of(7)["w"]})
    tree, again = Checkpointer(saved.path.parent).restore(tree_of(0))
    assert_same(tree, tree_of(7))
    assert again.metadata == metadata


@pytest.mark.parametrize("keep", [None, 1, 2])
@pytest.mark.parametrize("best", [None, "accuracy", "loss"])
def test_the_newest_and_the_best_are_kept(tmp_path, keep, best):
    numbers = {0: 3.0, 10: 9.0, 20: 1.0, 30: np.nan, 40: 5.0}
    with Checkpointer(tmp_path, keep=keep, best=best) as checkpointer:
        for step, number in numbers.items():
            metrics = {best: number} if best and step != 40 else None
            checkpointer.save(step, tree_of(step), metrics=metrics)
        good = {"accuracy": 10, "loss": 20}.get(best)
        newest = [*numbers][-keep:] if keep else [*numbers]
        assert checkpointer.steps() == sorted({*newest} | ({good} if best else set()))
        assert checkpointer.latest().step == 40
        if best:
            assert checkpointer.best().step == good
            assert_same(checkpointer.best().load(), tree_of(good))
        else:
            with pytest.raises(ValueError, match="no metric is named"):
                checkpointer.best()


MODES = {
    "accuracy": "max", "eval/loss": "min", "top5_error": "min", "perplexity": "min", "bleu": "max",
    "val_mse": "min", "score": "max",
}  # fmt: skip


@pytest.mark.parametrize("metric", MODES)
def test_the_mode_follows_from_the_name(tmp_path, metric):
    with Checkpointer(tmp_path, best=metric, keep=5) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, {}, metrics={metric: float(step)})
        assert checkpointer.best().step == {"max": 2, "min": 1}[MODES[metric]]
        other = {"max": "min", "min": "max"}[MODES[metric]]
        assert (
            Checkpointer(tmp_path, best=metric, mode=other).best().step != checkpointer.best().step
        )


def test_equal_values_keep_the_newest(tmp_path):
    with Checkpointer(tmp_path, keep=1, best="accuracy") as checkpointer:
        for step, value in ((0, 1.0), (1, 1.0), (2, 0.5)):
            checkpointer.save(step, {}, metrics={"accuracy": value})
        assert checkpointer.steps() == [1, 2]


def test_step_zero_can_be_the_best(tmp_path):
    with Checkpointer(tmp_path, keep=1, best="accuracy") as checkpointer:
        for step in range(3):
            checkpointer.save(step, {}, metrics={"accuracy": -step})
        assert checkpointer.steps() == [0, 2]


def test_a_step_that_was_found_can_be_read_though_it_is_removed_meanwhile(tmp_path):
    with Checkpointer(tmp_path, keep=1) as checkpointer:
        checkpointer.save(1, tree_of(1))
        saved = checkpointer.latest()
        checkpointer.save(2, tree_of(2))
        assert checkpointer.steps() == [2]
    assert_same(saved.load(), tree_of(1))


def test_a_new_checkpointer_keeps_what_an_earlier_one_saved(tmp_path):
    for step in (1, 2, 3):
        with Checkpointer(tmp_path, keep=1, best="accuracy") as checkpointer:
            checkpointer.save(step, tree_of(step), metrics={"accuracy": -step})
    assert checkpointer.steps() == [1, 3]


def test_due(tmp_path):
    checkpointer = Checkpointer(tmp_path, every=10)
    assert [step for step in range(31) if checkpointer.due(step)] == [10, 20, 30]
    assert not any(map(Checkpointer(tmp_path).due, range(100)))


@KINDS
def test_a_step_that_is_there_is_replaced(tmp_path, asynchronous):
    with Checkpointer(tmp_path, asynchronous=asynchronous) as checkpointer:
        checkpointer.save(1, tree_of(5))
        checkpointer.save(1, {"other": jnp.ones(1)})
        assert_same(checkpointer.latest().load(), {"other": jnp.ones(1)})
    assert names(tmp_path) == ["step-00000001"]


def test_an_older_step_that_is_saved_again_is_kept(tmp_path):
    with Checkpointer(tmp_path, keep=1) as checkpointer:
        checkpointer.save(20, tree_of(20))
        checkpointer.save(10, tree_of(10))
        assert checkpointer.steps() == [10, 20]


def test_foreign_files_stay(tmp_path):
    for name in (
        "step-1",
        "step-0001",
        "step-00000005.bak",
        ".writing",
        ".writing-00000001-x",
        "notes",
    ):
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000009").write_text("a file")
    (tmp_path / "readme.txt").write_text("mine")
    before = names(tmp_path)
    with Checkpointer(tmp_path, keep=1) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, tree_of(step))
        assert checkpointer.steps() == [2]
    assert names(tmp_path) == sorted([*before, "step-00000002"])


def test_steps_of_many_digits(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(10**9, tree_of(1))
        checkpointer.save(5, tree_of(5))
        assert checkpointer.latest().step == 10**9


# ---- misuse


def test_wrong_arguments(tmp_path):
    for wrong in ({"keep": 0}, {"every": -1}, {"mode": "best"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            Checkpointer(tmp_path, **wrong)
    checkpointer = Checkpointer(tmp_path, best="accuracy")
    with pytest.raises(ValueError, match="step must not be negative"):
        checkpointer.save(-1, {})
    with pytest.raises(TypeError, match=r"step must be a whole number; got 1\.5"):
        checkpointer.save(1.5, {})
    with pytest.raises(
        ValueError, match=r"best='accuracy' is not among the metrics of step 1: loss"
    ):
        checkpointer.save(1, {}, metrics={"loss": 1.0})
    for wrong, place in (
        ({"a": [np.ones(1)]}, r"metadata\['a'\]\[0\] is a ndarray"),
        ({1: 2}, "keys of text"),
    ):
        with pytest.raises(TypeError, match=place):
            checkpointer.save(1, {}, metadata=wrong)
    with pytest.raises(TypeError, match=r"f is a builtins\.function"):
        checkpointer.save(1, {"f": lambda: 1})
    with pytest.raises(ValueError, match=r"step 3 is not in .*; there are: none"):
        checkpointer.restore(step=3)
    checkpointer.close()
    assert names(tmp_path) == []


def test_what_does_not_fit_is_an_error_and_no_reason_to_go_back(tmp_path):
    with Checkpointer(tmp_path) as checkpointer:
        for step in (1, 2):
            checkpointer.save(step, tree_of(step))
        with pytest.raises(fn.errors.TreeMismatchError, match="missing: more"):
            checkpointer.restore({**tree_of(0), "more": 1})


# ---- in the background


def test_save_returns_before_it_is_written_and_the_next_one_waits(tmp_path, gate):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, tree_of(1))
    assert [name for name in names(tmp_path) if not name.startswith(".")] == []
    second = threading.Thread(target=checkpointer.save, args=(2, tree_of(2)))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    gate.set()
    second.join(30)
    assert checkpointer.steps() == [1, 2]


def test_what_happens_to_arrays_after_save_changes_nothing(tmp_path, gate):
    checkpointer = Checkpointer(tmp_path)
    tree = {"w": jnp.arange(1000.0), "key": jax.random.key(4), "host": np.arange(1000.0)}
    expected = {"w": jnp.arange(1000.0), "key": jax.random.key(4), "host": np.arange(1000.0)}
    checkpointer.save(1, tree)
    tree["host"][:] = -1
    step = jax.jit(lambda w: w * 0 - 1, donate_argnums=0)
    tree["w"] = step(tree["w"])
    gate.set()
    assert_same(checkpointer.restore()[0], expected)


@KINDS
@pytest.mark.parametrize("moment", ["arrays", "description", "name"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, asynchronous, moment):
    checkpointer = Checkpointer(tmp_path, asynchronous=asynchronous)
    checkpointer.save(1, tree_of(1))
    checkpointer.wait()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    place = {
        "arrays": (step_writer, "write_safetensors"),
        "description": (step_writer.Manifest, "write"),
        "name": (step_writer, "commit_step"),
    }[moment]
    with monkeypatch.context() as patched:
        patched.setattr(*place, full)
        with pytest.raises(
            RuntimeError, match=r"step 2 could not be saved .*No space left"
        ) as caught:
            save_and_wait(checkpointer, 2)
    assert isinstance(caught.value.__cause__, OSError)
    assert names(tmp_path) == ["step-00000001"]
    checkpointer.wait()  # it was told once
    checkpointer.save(3, tree_of(3))
    assert checkpointer.steps() == [1, 3]


@pytest.mark.parametrize("method", ["save", "close", "latest"])
def test_every_later_call_tells_of_the_error(tmp_path, monkeypatch, method):
    checkpointer = Checkpointer(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(step_writer, "write_safetensors", None)
        checkpointer.save(1, {})
        with pytest.raises(RuntimeError, match="step 1 could not be saved"):
            checkpointer.save(2, {}) if method == "save" else getattr(checkpointer, method)()


def run_python(code, directory, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUN": str(directory)}
    start = "import os, signal, numpy as np, funcnet as fn\nfrom funcnet.checkpoint.runs import step_writer\n"
    return subprocess.run(
        [sys.executable, "-c", start + code], env=environment, text=True, capture_output=True, check=False,
        timeout=120, **options,
    )  # fmt: skip


SAVE_AND_LEAVE = """
import time
write = step_writer.write_safetensors
step_writer.write_safetensors = lambda *a: (time.sleep(0.5), write(*a))
checkpointer = fn.checkpoint.Checkpointer(os.environ["RUN"])
checkpointer.save(1, {"w": [np.full(100_000, i) for i in range(20)]})
"""


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGINT)", "raise SystemExit(3)"])
def test_the_end_of_the_program_waits_for_the_writer(tmp_path, end):
    done = run_python(SAVE_AND_LEAVE + end, tmp_path)
    assert names(tmp_path) == ["step-00000001"], done.stderr
    tree = Checkpointer(tmp_path).restore()[0]
    assert all((array == i).all() for i, array in enumerate(tree["w"]))


def test_an_error_at_the_end_of_the_program_is_printed(tmp_path):
    code = SAVE_AND_LEAVE.replace("write(*a)", "1 / 0")
    done = run_python(code, tmp_path)
    assert "step 1 could not be saved" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert names(tmp_path) == []


def test_a_forked_process_ends_and_does_not_save(tmp_path, gate):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, tree_of(1))

    def child():
        with pytest.raises(RuntimeError, match="before the process was forked"):
            checkpointer.save(2, {})
        checkpointer.wait()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that forking beside threads is dangerous
        forked = multiprocessing.get_context("fork").Process(target=child)
        forked.start()
    forked.join(30)
    assert forked.exitcode == 0
    gate.set()
    assert checkpointer.steps() == [1]
