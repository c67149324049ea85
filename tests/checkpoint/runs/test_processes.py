"""Two processes with two devices each save together; other numbers of processes and devices restore."""

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet.checkpoint.runs.report import describe_path
from tests.checkpoint.runs.process_child import WHOLE, check, tree_of
from tests.several_processes import run_together

CHILD = "tests.checkpoint.runs.process_child"


def test_two_processes_save_and_others_restore(tmp_path):
    directory = tmp_path / "run"
    run_together(CHILD, 2, 2, tmp_path, directory, "save")
    step = directory / "step-00000003"
    assert sorted(path.name for path in step.iterdir()) == [
        "arrays-0-of-2.safetensors",
        "arrays-1-of-2.safetensors",
        "checkpoint.json",
    ]
    # each process wrote its own half, and what every device has was written once
    stored = [fn.checkpoint.load_arrays(step / f"arrays-{i}-of-2.safetensors") for i in range(2)]
    rows = [{name for name in one if name.startswith("rows")} for one in stored]
    assert rows == [{"rows[0:2,0:8]", "rows[2:4,0:8]"}, {"rows[4:6,0:8]", "rows[6:8,0:8]"}]
    assert sum("everywhere" in one for one in stored) == 1
    assert "2" in describe_path(directory)

    # two processes with one device each
    run_together(CHILD, 2, 1, tmp_path, directory, "restore")
    # one process, four devices: this one
    checkpointer = fn.checkpoint.Checkpointer(directory, best="loss")
    tree, saved = checkpointer.restore(like=tree_of(0))
    assert saved.step == 3
    check(tree, 3)
    bare = checkpointer.latest().load()
    np.testing.assert_array_equal(bare["rows"], WHOLE + 3)
    np.testing.assert_array_equal(bare["columns"], WHOLE - 3)
    assert bare["key"].shape == (8,)
    shapes = jax.eval_shape(lambda: {"rows": jax.numpy.zeros((8, 8))})
    np.testing.assert_array_equal(
        checkpointer.latest().load(shapes, select="rows")["rows"], WHOLE + 3
    )

    # a piece that is damaged is met, whoever needs it
    file = step / "arrays-1-of-2.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match=r"step 3 is not whole.*arrays-1-of-2"):
        tree, saved = checkpointer.restore(like=tree_of(0))
    assert saved.step == 2
    check(tree, 2)


def test_a_process_that_cannot_write_stops_all_of_them(tmp_path):
    directory = tmp_path / "run"
    run_together(CHILD, 2, 2, tmp_path, directory, "fail")
    assert [path.name for path in directory.iterdir()] == ["step-00000001"]
