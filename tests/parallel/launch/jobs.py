"""Run a job as a user would, and see that nothing of it is left."""

import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = str(Path(__file__).with_name("program.py"))
LIMIT = 60.0
"""Seconds until a job that does not end is killed and its test fails; no promise is measured with it."""


@dataclass
class Ended:
    codes: list[int]
    out: str
    err: str
    gone: float
    """Seconds from the fault until no process was left; nan without a fault."""

    @property
    def code(self):
        return self.codes[-1]


def with_token(token):
    """List the processes that have a token in their environment: those of a job, and their children."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                running = not re.search(r"\) Z ", (folder / "stat").read_text())
                if running and token.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
    return found


def clean_environment(**more):
    names = ("FUNCNET_", "SLURM_", "OMPI_", "PMI_", "JOB_COMPLETION", "JAX_NUM_CPU", "JAX_COORD")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return {**kept, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **more}


def run_job(*arguments, commands=None, environments=None, limit=LIMIT):
    """Run the launcher, or the commands of a cluster's nodes, until no process is left."""
    token = f"token-{uuid.uuid4()}"
    fault = Path(tempfile.gettempdir()) / token
    commands = commands or [[sys.executable, "-m", "funcnet.parallel.launch", *arguments]]
    environments = environments or [{} for _ in commands]
    began = time.monotonic()
    children = [
        subprocess.Popen(
            command,
            env=clean_environment(JOB_TOKEN=token, FAULT_FILE=str(fault), **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command, environment in zip(commands, environments, strict=True)
    ]
    try:
        said = [child.communicate(timeout=limit) for child in children]
        while with_token(token) and time.monotonic() - began < limit:
            time.sleep(0.02)
        end = time.time()
    finally:
        left = with_token(token)
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, 9)
    out, err = ("".join(part) for part in zip(*said, strict=True))
    assert not left, f"{len(left)} processes are left:\n{out}\n{err}"
    moment = float(fault.read_text()) if fault.exists() else float("nan")
    fault.unlink(missing_ok=True)
    return Ended([child.returncode for child in children], out, err, end - moment)
