"""Killed at random points, by SIGKILL: every file can be read, its last line at most is lost, and a run goes on."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.observers.killed_child import run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

CHILD = Path(__file__).with_name("killed_child.py")


def started(*arguments):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path]),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, str(CHILD), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_writers_killed_at_many_points(tmp_path, request):
    count = 1000 if request.config.getoption("grid") == "full" else 15
    seed = random.randrange(10**9)  # another one each time: the message says which
    with started("writers", tmp_path, seed, count) as child:
        out, errors = child.communicate(timeout=900)
    assert out == f"ok {count}\n", f"seed {seed}: {errors}"


def test_runs_killed_and_gone_on_with_leave_what_one_that_never_stopped_does(tmp_path, request):
    times = 20 if request.config.getoption("grid") == "full" else 1
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole)
    killed = 0
    for _ in range(times):
        with started("run", parts) as child:
            assert child.stdout.readline() == "starts\n"
            before = steps_in(parts)
            wait_for_rows(child, parts, before)
            time.sleep(random.uniform(0, 0.4))
            child.kill()
            killed += child.wait() < 0
            child.communicate()
    with started("run", parts) as child:
        out, errors = child.communicate(timeout=300)
    assert out == "starts\nends 200\n", errors
    assert killed > 0
    assert without_time(whole) == without_time(parts)
    # those of the checkpoints apart, which both have
    names = [
        sorted(p.name for p in folder.iterdir() if "earlier" not in p.name)
        for folder in (whole, parts)
    ]
    assert names[0] == [name for name in names[1] if ".1." not in name and ".2." not in name]


def steps_in(folder):
    path = folder / "log.jsonl"
    return path.stat().st_size if path.exists() else 0


def wait_for_rows(child, folder, before):
    limit = time.monotonic() + 120
    while steps_in(folder) == before and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)


def without_time(folder):
    """The rows of a log, without what a clock said."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    left = ("second", "peak_share")
    return [{n: v for n, v in row.items() if not any(one in n for one in left)} for row in rows]
