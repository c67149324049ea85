"""Start several processes that work together, each running a module of the tests."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_together(module, count, devices, folder, *arguments, limit=100.0, name=None):
    """Run ``python -m module COUNT PROCESS ADDRESS ARGUMENTS...``; when one fails or is late, all of them end.

    Each has to say "is done". Returns what they said, one text for each.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
    }
    label = name or module.rpartition(".")[2]
    logs = [Path(folder) / f"{label}-{count}-{process}.txt" for process in range(count)]
    children = []
    try:
        for process, log in enumerate(logs):
            command = [sys.executable, "-m", module, str(count), str(process), address]
            command += map(str, arguments)
            with log.open("w") as output:
                children.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment, stdout=output, stderr=output
                    )
                )
        end = time.monotonic() + limit
        while any(child.poll() is None for child in children):
            if any(child.poll() for child in children) or time.monotonic() > end:
                break
            time.sleep(0.05)
    finally:
        for child in children:
            child.kill()
            child.wait()
    said = [log.read_text() for log in logs]
    shown = "\n".join(text[-3000:] for text in said)
    assert all(child.returncode == 0 for child in children), shown
    assert all("is done" in text for text in said), shown
    return said


def begin(count, process, address):
    """What such a module does first."""
    import jax

    if int(count) > 1:
        jax.distributed.initialize(address, int(count), int(process), initialization_timeout=60)
