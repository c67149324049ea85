"""Several processes write one step: they meet in the folder that they write to.

A collective operation in the background could stand in the way of the step's own; files cannot.
"""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet.checkpoint.runs.directory import new_token
from funcnet.core.files import write_atomically

__all__ = ["common_token", "report_failure", "wait_for", "wait_for_files"]

_LIMIT = 600.0
"""Seconds that processes wait for each other."""

_PAUSE = 0.02


def common_token() -> str:
    """Agree on a name that nobody else uses; every process has to call this."""
    token = int(new_token(), 16) if jax.process_index() == 0 else 0
    if jax.process_count() > 1:
        mesh = jax.make_mesh((jax.device_count(),), ("all",), (AxisType.Auto,))
        everywhere, nowhere = NamedSharding(mesh, PartitionSpec("all")), PartitionSpec()
        shares = jax.make_array_from_callback(
            (jax.device_count(),), everywhere, lambda index: np.array([token], np.uint32)
        )
        # the others give zeros
        token = int(jax.jit(jnp.max, out_shardings=NamedSharding(mesh, nowhere))(shares))
    return f"{token:08x}"


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it was not for ten minutes.
    """
    end = time.monotonic() + _LIMIT
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {_LIMIT:.0f} s for {what}")
        time.sleep(_PAUSE)


def wait_for_files(folder: Path, names: list[str]) -> None:
    """Wait until all processes have written their files.

    Raises:
        RuntimeError: one of them could not.
        TimeoutError: see `wait_for`.
    """

    def are_there() -> bool:
        for failure in folder.glob("failed-*"):
            raise RuntimeError(f"process {failure.name[7:]} could not write: {failure.read_text()}")
        return all((folder / name).exists() for name in names)

    wait_for(are_there, "the other processes to write their arrays")


def report_failure(folder: Path, process: int, error: BaseException) -> None:
    """Tell the first process that this one could not write its file."""
    if folder.exists():
        write_atomically(folder / f"failed-{process}", f"{type(error).__name__}: {error}".encode())
