"""Where one of several processes wants a run to end, all end after the same step, and evaluate it."""

import json

from tests.several_processes import run_together


def test_one_process_ends_the_run_of_all(tmp_path):
    run_together("tests.training.loop.stopped_child", 2, 2, tmp_path, tmp_path, limit=300.0)
    found, other = (
        json.loads((tmp_path / f"stopped-{process}.json").read_text()) for process in range(2)
    )
    own = "this process has enough"
    theirs = "another process stopped the run"
    # asked at step 4, answered at step 5; between steps all wait for each other
    assert other["step"] == [5, [3, 5], own]
    assert found["step"] == [5, [3, 5], theirs]
    assert other["evaluation"] == [3, [3], own]
    assert found["evaluation"] == [3, [3], theirs]
    assert other["epoch"] == [6, [3, 6], own]
    steps, evaluations, reason = found["seconds"]
    assert found["seconds"] == other["seconds"]
    assert evaluations[-1] == steps < 5  # how far the loader runs ahead of the clock is its own
    assert reason is None
    assert found["steps"] == other["steps"] == [4, [2, 4], None]
    for name in ("step", "evaluation", "epoch"):
        assert found[f"{name} calls"] == other[f"{name} calls"]
        assert found[f"{name} calls"][-1][0] == "on_end"
