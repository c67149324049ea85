"""Starts a task in a process of its own, and tells what went wrong there."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from funcnet.core.errors import ExportError
from funcnet.export.compilers import child

__all__ = ["require_packages", "run_task"]

_SHOWN = 3000
"""Characters of what a process printed last, which hold its error."""


def require_packages(what: str, extra: str, packages: Sequence[str]) -> None:
    """Say which extra brings the packages that are not installed.

    Raises:
        ImportError: one is not installed.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f'{what} needs {", ".join(missing)}: pip install "funcnet[{extra}]"')


def run_task(task: str, folder: Path, doing: str, seconds: float = 1800) -> None:
    """Run a task of `child` on a folder.

    Args:
        task: the name of its function.
        folder: with the job.
        doing: what it does, for messages.
        seconds: after which it is ended.

    Raises:
        ExportError: it failed, was ended by the system, or took too long.
    """
    command = [sys.executable, "-P", str(Path(child.__file__)), task, str(folder)]
    quiet = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    environment = {**os.environ, **quiet}
    environment.pop(
        "XLA_FLAGS", None
    )  # written for JAX; another XLA ends at a flag that it does not know
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"{doing} took longer than {seconds:g} seconds") from None
    if done.returncode:
        ended = f"was ended by signal {-done.returncode}" if done.returncode < 0 else "failed"
        raise ExportError(f"{doing} {ended}:\n{(done.stdout + done.stderr).strip()[-_SHOWN:]}")
