"""Two processes with two devices each train as one device does."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from funcnet.core.paths import leaves_with_paths
from tests.parallel.example_models import ALL, EXAMPLES, FEW, is_possible, whole_run

ROOT = Path(__file__).parents[2]
STRATEGIES = ("data", "fsdp", "tensor")


def run_processes(count, devices, arguments, directory, limit):
    """Run processes that work together; when one fails or is late, all of them end."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(devices)}
    environment["JAX_ENABLE_X64"] = "true"
    logs = [directory / f"{process}.txt" for process in range(count)]
    children = []
    try:
        for process, log in enumerate(logs):
            command = [sys.executable, "-m", "tests.parallel.model_process", str(count)]
            command += [str(process), address, str(directory), *arguments]
            with log.open("w") as output:
                child = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=output, stderr=output
                )
            children.append(child)
        end = time.monotonic() + limit
        while any(child.poll() is None for child in children):
            if any(child.poll() for child in children) or time.monotonic() > end:
                break
            time.sleep(0.05)
    finally:
        for child in children:
            child.kill()
            child.wait()
    said = "\n".join(log.read_text()[-3000:] for log in logs)
    assert all(child.returncode == 0 for child in children), said


def test_processes_train_as_one_device(tmp_path, request, x64):
    full = request.config.getoption("grid") == "full"
    steps = ALL if full else FEW
    pairs = ["lstm_lm:fsdp"]
    if full:
        pairs = [f"{name}:{s}" for name in EXAMPLES for s in STRATEGIES if is_possible(name, s)]
    run_processes(2, 2, [str(steps), *pairs], tmp_path, 300.0 * len(pairs))
    for pair in pairs:
        name, _, strategy = pair.partition(":")
        expected, run = whole_run(name, steps)
        found = dict(np.load(tmp_path / f"{name}-{strategy}.npz"))
        # sums over devices are made in another order
        np.testing.assert_allclose(found.pop("losses"), expected, rtol=1e-9)
        whole = dict(leaves_with_paths({"params": run.params, "state": run.state}))
        assert found.keys() == whole.keys()
        for path, array in whole.items():
            np.testing.assert_allclose(found[path], array, rtol=1e-9, atol=1e-9, err_msg=path)
