"""The folder of a run's checkpoints: one folder for each step, which appears whole or not at all.

A step is written to a hidden folder; its files are synced, then the folder, then it is renamed, then the parent
is synced. What is to be removed is renamed to a hidden name first. So whatever has a step's name is whole, and
what a crash leaves is hidden, and swept at the next start.
"""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from funcnet.core.files import sync_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = [
    "commit_step",
    "hidden_folder",
    "held",
    "list_steps",
    "new_token",
    "remove_step",
    "step_folder",
    "sweep_hidden",
]

_STEP = re.compile(r"step-(\d{8,})")
_HIDDEN = re.compile(r"\.(writing|removed|replaced)-(\d{8,})-[0-9a-f]{8}(-\d+)?")

_FORGOTTEN = 24 * 3600.0
"""Seconds after which a hidden folder is swept where the system cannot tell whether its writer lives."""


def step_folder(directory: Path, step: int) -> Path:
    """Give the folder of a step.

    >>> step_folder(Path("runs"), 1000).as_posix()
    'runs/step-00001000'
    """
    return directory / f"step-{step:08d}"


def hidden_folder(directory: Path, purpose: str, step: int, token: str) -> Path:
    """Give a hidden folder of a step: ``"writing"``, ``"removed"`` or ``"replaced"``.

    >>> hidden_folder(Path("runs"), "writing", 1000, "0123abcd").as_posix()
    'runs/.writing-00001000-0123abcd'
    """
    return directory / f".{purpose}-{step:08d}-{token}"


def new_token() -> str:
    """Make a name that nobody else uses."""
    return uuid.uuid4().hex[:8]


def list_steps(directory: Path) -> list[int]:
    """List the steps that have a folder, whole or not, in order."""
    found = [(_STEP.fullmatch(path.name), path) for path in directory.glob("step-*")]
    steps = {int(match[1]): path for match, path in found if match and path.is_dir()}
    return sorted(step for step, path in steps.items() if step_folder(directory, step) == path)


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keep other processes from sweeping a directory while this one writes to it; several may hold it."""
    handle = _lock(directory, exclusive=False)
    try:
        yield
    finally:
        _unlock(handle)


def commit_step(directory: Path, written: Path, step: int) -> None:
    """Give a folder that is written and synced the name of its step; a step of that name is replaced.

    A crash in between leaves the old step or the new one.
    """
    target = step_folder(directory, step)
    replaced = hidden_folder(directory, "replaced", step, new_token())
    if target.exists():
        target.rename(replaced)
    written.rename(target)
    sync_folder(directory)
    if replaced.exists():
        shutil.rmtree(replaced)


def remove_step(directory: Path, step: int) -> None:
    """Remove a step: at no moment does a part of it have its name."""
    removed = hidden_folder(directory, "removed", step, new_token())
    try:
        step_folder(directory, step).rename(removed)
    except FileNotFoundError:  # another process was quicker
        return
    shutil.rmtree(removed)


def sweep_hidden(directory: Path) -> None:
    """Remove what crashed writers left, unless a process is writing there now; foreign files stay."""
    handle = _lock(directory, exclusive=True)
    try:
        for path in sorted(directory.glob(".*-*")):
            match = _HIDDEN.fullmatch(path.name)
            if match and path.is_dir() and (handle is not None or _is_forgotten(path)):
                _sweep(directory, path, match[1], int(match[2]))
    finally:
        _unlock(handle)


def _sweep(directory: Path, path: Path, purpose: str, step: int) -> None:
    if purpose == "replaced" and not step_folder(directory, step).exists():
        path.rename(step_folder(directory, step))  # a crash came before the new one had its name
        sync_folder(directory)
    else:
        shutil.rmtree(path)


def _is_forgotten(path: Path) -> bool:
    # a lock that somebody holds, and a system without locks, look alike: age decides
    return time.time() - path.stat().st_mtime > _FORGOTTEN


def _lock(directory: Path, exclusive: bool) -> int | None:
    """Lock a directory; None where that fails: an exclusive lock does not wait, and some systems have none."""
    if fcntl is None:
        return None
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if exclusive else fcntl.LOCK_SH)
    except OSError:
        os.close(handle)
        return None
    return handle


def _unlock(handle: int | None) -> None:
    if handle is not None and fcntl is not None:
        fcntl.flock(handle, fcntl.LOCK_UN)  # also for children that were forked meanwhile
        os.close(handle)
