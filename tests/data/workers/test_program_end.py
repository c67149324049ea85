"""Programs that use workers: without a guard, and however they end."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

from tests.data.workers.waiting import until

SCRIPT = """
import os, signal, sys, time
import jax, jax.numpy as jnp, numpy as np
from funcnet import data

class Scale:                                   # defined in the main program, which is not run again
    factor = 3
    def __call__(self, sample):
        return helper(sample) * self.factor

def helper(x):
    return np.asarray(x, np.float32)

print("started", flush=True)
loader = data.DataLoader(list(range(64)), 4, num_workers=2, workers="process", transforms=[Scale()])
step = jax.jit(lambda x: x.sum())
MODE = sys.argv[1]
for number, batch in enumerate(loader):
    total = float(step(jnp.asarray(batch)))
    assert total == 3 * sum(range(4 * number, 4 * number + 4))
    if number == 2:
        if MODE == "interrupt":
            # a shell may have started the tests with Ctrl-C ignored
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        if MODE == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if MODE == "exit":
            iterator = iter(loader); next(iterator)
            sys.exit(0)
print("done", flush=True)
"""


def run_script(tmp_path, mode):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "FUNCNET_TEST": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, str(script), mode],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    def orphans():
        mark = f"FUNCNET_TEST={tmp_path}".encode()
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in path.read_bytes():
                    found.append(path)
            except OSError:
                continue
        return found

    until(lambda: not orphans())
    return process


def test_main_program_without_a_guard(tmp_path):
    process = run_script(tmp_path, "plain")
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == ["started", "done"]
    assert process.stderr == ""


@pytest.mark.parametrize(
    ("mode", "code"), [("interrupt", -signal.SIGINT), ("kill", -signal.SIGKILL), ("exit", 0)]
)
def test_however_the_program_ends_no_worker_stays(tmp_path, mode, code):
    process = run_script(tmp_path, mode)
    assert process.returncode == code, process.stderr
    if mode != "interrupt":
        assert process.stderr == ""
