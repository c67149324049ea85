"""A run whose process was killed goes on as if it had not been, and its log has each step once."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.training.loop.small_run import equal
from tests.training.test_resuming import unbroken

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.training.test_resuming import part, training, np, jax
print("begun", flush=True)
log = training.JSONLog(sys.argv[4], every=5)
options = {"every": 1, "epochs": 12, "evaluate_every": 4, "observers": [log]}
run, history = part("prefetched", sys.argv[2], **options)
np.savez(sys.argv[3], *map(np.asarray, jax.tree.leaves(run.params)))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_process_goes_on(tmp_path, rng, pytestconfig):
    root, result = Path(__file__).parents[2], tmp_path / "result.npz"
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-c", CHILD, str(root), str(tmp_path / "run"), str(result), str(log)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    kills = 20 if pytestconfig.getoption("grid") == "full" else 2
    for attempt in itertools.count():
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        if attempt < kills:
            time.sleep(rng.uniform(0.5, 2.0))
            child.kill()
        child.stdout.close()
        if child.wait() == 0:
            break
        assert child.returncode == -signal.SIGKILL
    expected, _ = unbroken("prefetched", epochs=12)
    with np.load(result) as found:
        equal(expected.params, [found[name] for name in found.files])
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [row["step"] for row in rows]
    assert steps == sorted(set(steps))
    assert [row["step"] for row in rows if "eval/loss" in row] == [*range(4, 72, 4), 72]
    assert [row["step"] for row in rows if "train/loss" in row] == [*range(5, 72, 5), 72]
