"""Join a job of several processes."""

import os
import sys
import threading
import warnings
from dataclasses import dataclass, replace
from typing import Any

import jax

from funcnet.parallel.launch.hub import split_address
from funcnet.parallel.launch.hub_thread import HubThread
from funcnet.parallel.launch.member import Member, connect
from funcnet.parallel.launch.steps import THIS_PROCESS
from funcnet.parallel.launch.variables import OURS, JobVariables, find_variables

__all__ = ["JobProcess", "start"]


@dataclass(frozen=True)
class JobProcess:
    """One process of a job.

    Attributes:
        index: its rank, from 0.
        count: how many processes there are.
        restart: how often the launcher has started the job again.

    Example:
        >>> process = fn.parallel.JobProcess(index=1, count=4, restart=0)
        >>> process.index, process.count
        (1, 4)
    """

    index: int = 0
    count: int = 1
    restart: int = 0

    @property
    def devices(self) -> list[Any]:
        """The JAX devices of this process; ``jax.devices()`` lists those of all."""
        return jax.local_devices()


def start(
    *,
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    devices: tuple[int, ...] | None = None,
    step_timeout: float | None = None,
    heartbeat_timeout: int = 60,
    initialization_timeout: int = 300,
    shutdown_timeout: int = 120,
) -> JobProcess:
    """Join the job that this process belongs to; a process alone does nothing.

    Call it once, before anything that makes arrays or asks for devices. What is not given comes from the variables
    of ``python -m funcnet.parallel.launch``, SLURM, Kubernetes, Open MPI or PMI.

    From then on the job ends as a whole: an error that nobody catches, an exit code, a kill or a stuck step in one
    process is printed once, with its rank, and ends all of them. On a cluster this takes two ports of process 0,
    the coordinator's and the next one.

    Args:
        coordinator: ``host:port`` of process 0, which the others reach.
        processes: how many there are; 1 means alone, whatever the variables say.
        process: which one this is, from 0.
        devices: the accelerators of this machine that it takes, by number; all that it sees by default.
        step_timeout: seconds from one call of `alive` to the next after which the job counts as stuck: it prints where
            every process is, and ends. Longer than the longest step, with compilation, evaluation and saving.
        heartbeat_timeout: seconds of silence after which JAX gives up a process that is frozen or cut off. Long
            enough for a network that stumbles; a process that dies is noticed at once.
        initialization_timeout: seconds in which all processes have to come, with queues and images to pull.
        shutdown_timeout: seconds that a process at its end waits for the others to end.

    Returns:
        This process's place in the job.

    Raises:
        RuntimeError: called twice, or after JAX has looked for its devices.
        ValueError: a part of what is needed is known, but not all; a rank that is not below the number of processes.

    Example:
        >>> place = fn.parallel.start()
        >>> place.index, place.count
        (0, 1)

    Reference: https://docs.jax.dev/en/latest/multi_process.html
    """
    known = _complete(find_variables(), coordinator, processes, process, devices)
    count, rank = known.processes or 1, known.process or 0
    if count == 1 and known.launcher is None and step_timeout is None:
        return JobProcess()
    if THIS_PROCESS.started or jax.distributed.is_initialized():
        raise RuntimeError(
            "parallel.start() was called twice, or after jax.distributed.initialize(): a process joins one job, once. "
            "Call start() at the top of the program and pass on what it returns"
        )
    address = known.coordinator or ""
    if count > 1:
        limits = (initialization_timeout, heartbeat_timeout, shutdown_timeout)
        _initialize_jax(known, *limits)
    for name in OURS:  # programs that this one starts are no members of its job
        os.environ.pop(name, None)
    hub = known.launcher or (
        _open_hub(address, count, rank, heartbeat_timeout) if count > 1 else None
    )
    lines = connect(hub, 10.0) if hub else None
    if hub and lines is None:
        warnings.warn(
            f"process {rank} cannot reach {hub}: a process that fails will end the others after the heartbeat only. "
            "Open the port after the coordinator's between the machines",
            RuntimeWarning,
            stacklevel=2,
        )
    interval = min(heartbeat_timeout / 8, 5.0)
    launched = known.launcher is not None
    THIS_PROCESS.member = Member(rank, count, lines, address, interval, step_timeout, launched)
    THIS_PROCESS.member.join()
    THIS_PROCESS.started = True
    return JobProcess(rank, count, known.restart)


def _complete(
    known: JobVariables,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    devices: tuple[int, ...] | None,
) -> JobVariables:
    """Put what the caller gave over what the environment says, and check that it is a whole."""
    given: dict[str, Any] = {
        "coordinator": coordinator,
        "processes": processes,
        "process": process,
        "devices": devices,
    }
    known = replace(known, **{name: value for name, value in given.items() if value is not None})
    if processes == 1:  # alone, also where a launcher has started others
        return replace(known, process=0, launcher=None)
    needed = {name: getattr(known, name) for name in ("coordinator", "processes", "process")}
    missing = [name for name, value in needed.items() if value is None]
    if len(missing) == 3:
        return known
    if missing:
        have = ", ".join(f"{name}={value!r}" for name, value in needed.items() if value is not None)
        written = ", ".join(f"{name}=..." for name in missing)
        exported = " and ".join(f"FUNCNET_{name.upper()}" for name in missing)
        raise ValueError(
            f"a job needs coordinator, processes and process; {known.source} gives {have}, without "
            f"{' and '.join(missing)}. Pass them: parallel.start({written}), or set {exported}; "
            "parallel.start(processes=1) runs alone"
        )
    count, rank = needed["processes"], needed["process"]
    if not 0 <= rank < count:
        raise ValueError(f"process={rank} of processes={count}: ranks go from 0 to {count - 1}")
    if ":" not in needed["coordinator"]:
        raise ValueError(
            f"coordinator is host:port of process 0, such as 'node01:12340'; got {needed['coordinator']!r}"
        )
    return known


def _initialize_jax(
    known: JobVariables, initialization: int, heartbeat: int, shutdown: int
) -> None:
    """Have JAX connect the processes; the numbers are seconds that it waits."""
    if known.process:
        _wait_for_coordinator(known, initialization)
    waiting = threading.Timer(
        min(30.0, initialization / 2), _say_what_is_awaited, [known, initialization]
    )
    waiting.daemon = True
    waiting.start()
    try:
        jax.distributed.initialize(
            known.coordinator,
            known.processes,
            known.process,
            known.devices,
            cluster_detection_method="deactivate",
            initialization_timeout=initialization,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=shutdown,
        )
    except RuntimeError as error:
        if "before any JAX" not in str(error):
            raise
        raise RuntimeError(
            "parallel.start() has to come before anything that makes JAX look for its devices: jax.devices(), "
            "jnp.zeros(...), jax.random.key(0), also in what the program imports. Call it first in main"
        ) from error
    finally:
        waiting.cancel()


def _wait_for_coordinator(known: JobVariables, seconds: int) -> None:
    """Wait for process 0, because JAX aborts without a word of where it looked."""
    found = connect(known.coordinator or "", seconds)
    if found is None:
        raise RuntimeError(
            f"process {known.process} of {known.processes} cannot reach process 0 at {known.coordinator} within "
            f"{seconds} s ({known.source}). Is process 0 started, is its name known here, and is the port open?"
        )
    found.socket.close()


def _say_what_is_awaited(known: JobVariables, seconds: int) -> None:
    """Name what is missing before JAX's runtime ends this process with a message that does not."""
    sys.stderr.write(
        f"process {known.process} of {known.processes} waits at {known.coordinator} for the others to call "
        f"parallel.start(), {seconds} s at most ({known.source}). Are all started, with srun or mpirun?\n"
    )
    sys.stderr.flush()


def _open_hub(address: str, count: int, rank: int, heartbeat: int) -> str:
    """Return where the hub is, the port after JAX's; process 0 opens it."""
    host, port = split_address(address)
    if rank > 0:
        return f"{host}:{port + 1}"
    try:
        HubThread(port + 1, address, count, heartbeat)
    except OSError as error:
        warnings.warn(f"port {port + 1} cannot be opened: {error}", RuntimeWarning, stacklevel=3)
    return f"localhost:{port + 1}"
