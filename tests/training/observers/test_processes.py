"""Two processes with all observers: the first writes, both stop and keep alike."""

import json

from tests.several_processes import run_together
from tests.training.observers.test_endings import check_files


def test_the_first_of_two_processes_writes(tmp_path):
    run_together("tests.training.observers.processes_child", 2, 2, tmp_path, tmp_path, limit=200.0)
    found = [json.loads((tmp_path / f"found-{process}.json").read_text()) for process in range(2)]
    assert found[0] == found[1]
    steps = found[0]["steps"]
    best, best_step, kept = found[0]["best"]
    assert kept == best_step
    assert found[0]["copies"] == list(range(3, steps + 1, 3))
    check_files(tmp_path, steps)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"train/loss", "eval/loss", "lr", "gradient_norm/all", "samples/norm"} <= set().union(
        *rows
    )
    assert [row["step"] for row in rows if "lr" in row] == list(range(2, steps + 1, 2))
    assert (tmp_path / "plot.png").exists()
    assert best > 0
