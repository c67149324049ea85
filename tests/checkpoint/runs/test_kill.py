"""``kill -9`` at any moment: the directory always loads, and never a mixture of two steps."""

import os
import random
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import funcnet as fn
from tests.checkpoint.runs.writer_child import tree_of
from tests.checkpoint.same import assert_same

ROOT = Path(__file__).parents[3]


def kill_while_saving(directory, kind, first, wait):
    """Start the child, let it save, kill it some moments later, and return the last step that it spoke of."""
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.checkpoint.runs.writer_child",
            str(directory),
            kind,
            str(first),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(2)]
        try:
            child.wait(wait)
        except subprocess.TimeoutExpired:
            pass
        else:
            raise AssertionError(f"the child ended by itself: {child.returncode}")
    finally:
        child.kill()
        rest, _ = child.communicate()
    return max([*said, *map(int, rest.split())])


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_killed_writer_loses_nothing_that_was_written(tmp_path, kind, pytestconfig):
    times = 50 if pytestconfig.getoption("grid") == "full" else 3
    moments = random.Random(kind)
    foreign = tmp_path / ".writing-notes"
    foreign.mkdir()
    step = 0
    for _ in range(times):
        said = kill_while_saving(tmp_path, kind, step + 1, moments.uniform(0, 0.15))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a step that is not whole would be warned of
            checkpointer = fn.checkpoint.Checkpointer(tmp_path, best="score")
            tree, saved = checkpointer.restore()
            # a step whose saving was said to be over, or handed over, is there; at most one later one is too
            assert said - (kind == "async") <= saved.step <= said + 1
            assert saved.metadata == {"step": saved.step}
            for one in checkpointer.steps():
                tree, found = checkpointer.restore(step=one)
                assert found.step == one
                assert_same(tree, tree_of(one))
            assert checkpointer.best().metrics["score"] >= saved.step % 7
        hidden = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
        assert hidden == [foreign.name]
        assert len(checkpointer.steps()) <= 4
        step = saved.step
