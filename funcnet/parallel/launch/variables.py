"""What the environment says about a job: how many processes, which one this is, and where they meet.

Each kind of cluster is one function from variables to `JobVariables`, so that it is tested without the cluster.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

__all__ = ["JobVariables", "find_variables", "first_host"]

COORDINATOR = "FUNCNET_COORDINATOR"
PROCESSES = "FUNCNET_PROCESSES"
PROCESS = "FUNCNET_PROCESS"
LAUNCHER = "FUNCNET_LAUNCHER"
RESTART = "FUNCNET_RESTART"
DEVICES = "FUNCNET_DEVICES"

OURS = (COORDINATOR, PROCESSES, PROCESS, LAUNCHER, RESTART, DEVICES)

_DEFAULT_PORT = 12340


@dataclass(frozen=True)
class JobVariables:
    """Where a process stands in its job; what is not known is None.

    Attributes:
        source: what said so, for messages.
        coordinator: ``host:port`` of process 0.
        processes: how many there are.
        process: which one this is, from 0.
        devices: the accelerators of this machine that it takes; None means all that it sees.
        launcher: ``host:port`` of the launcher that started it.
        restart: how often the launcher has started the job again.
    """

    source: str
    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    devices: tuple[int, ...] | None = None
    launcher: str | None = None
    restart: int = 0


def find_variables(environment: Mapping[str, str] | None = None) -> JobVariables:
    """Read the variables of `funcnet.parallel.launch`, SLURM, Kubernetes, Open MPI or PMI.

    ``FUNCNET_COORDINATOR`` (``host:port``) and ``FUNCNET_PROCESSES`` add to those of a cluster, and win.

    Args:
        environment: variables by name; those of this process by default.

    Returns:
        What they say; without any of them, a single process.

    Raises:
        ValueError: a variable that should be a whole number is not.

    Example:
        >>> from funcnet.parallel.launch.variables import find_variables
        >>> job = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_JOB_NODELIST": "node[07-08]", "SLURM_JOB_ID": "5"}
        >>> found = find_variables(job)
        >>> found.process, found.processes, found.coordinator
        (3, 8, 'node07:61450')
    """
    known = os.environ if environment is None else environment
    found = next((said for reader in _READERS if (said := reader(known))), None)
    if found is None:
        found = JobVariables("no variables of a job", None, _number(known, PROCESSES))
    elif PROCESSES in known:
        found = replace(found, processes=_number(known, PROCESSES))
    if COORDINATOR in known:
        found = replace(found, coordinator=_with_port(known[COORDINATOR]))
    return found


def _launched(known: Mapping[str, str]) -> JobVariables | None:
    if PROCESS not in known:
        return None
    devices = known.get(DEVICES)
    return JobVariables(
        "FUNCNET_*",
        process=_number(known, PROCESS),
        devices=tuple(map(int, devices.split(","))) if devices else None,
        launcher=known.get(LAUNCHER),
        restart=_number(known, RESTART) or 0,
    )


def _slurm(known: Mapping[str, str]) -> JobVariables | None:
    """Read a task of ``srun``; the shell of ``salloc`` has no SLURM_PROCID and is a process alone."""
    if "SLURM_PROCID" not in known:
        return None
    names = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS")
    nodes = known.get("SLURM_STEP_NODELIST") or known.get("SLURM_JOB_NODELIST")
    port = _port_of_job(_number(known, "SLURM_JOB_ID") or 0)
    return JobVariables(
        "SLURM_*",
        coordinator=f"{first_host(nodes)}:{port}" if nodes else None,
        processes=next((_number(known, name) for name in names if name in known), None),
        process=_number(known, "SLURM_PROCID"),
        devices=_own_devices(known, "SLURM_LOCALID", _slurm_neighbours(known)),
    )


def _kubernetes(known: Mapping[str, str]) -> JobVariables | None:
    """Read a pod of an Indexed Job: Kubernetes tells the index only."""
    if "JOB_COMPLETION_INDEX" not in known:
        return None
    return JobVariables("JOB_COMPLETION_INDEX", process=_number(known, "JOB_COMPLETION_INDEX"))


def _open_mpi(known: Mapping[str, str]) -> JobVariables | None:
    if "OMPI_COMM_WORLD_RANK" not in known:
        return None
    neighbours = _number(known, "OMPI_COMM_WORLD_LOCAL_SIZE")
    processes = _number(known, "OMPI_COMM_WORLD_SIZE")
    return JobVariables(
        "OMPI_COMM_WORLD_*",
        coordinator=_open_mpi_coordinator(known, neighbours == processes),
        processes=processes,
        process=_number(known, "OMPI_COMM_WORLD_RANK"),
        devices=_own_devices(known, "OMPI_COMM_WORLD_LOCAL_RANK", neighbours),
    )


def _pmi(known: Mapping[str, str]) -> JobVariables | None:
    """Read what MPICH and Intel MPI say, which is no address."""
    if "PMI_RANK" not in known:
        return None
    neighbours = _number(known, "MPI_LOCALNRANKS")
    processes = _number(known, "PMI_SIZE")
    alone = processes is not None and neighbours == processes
    return JobVariables(
        "PMI_*",
        coordinator=f"127.0.0.1:{_DEFAULT_PORT}" if alone else None,
        processes=processes,
        process=_number(known, "PMI_RANK"),
        devices=_own_devices(known, "MPI_LOCALRANKID", neighbours),
    )


_READERS: tuple[Callable[[Mapping[str, str]], JobVariables | None], ...] = (
    _launched,
    _slurm,
    _kubernetes,
    _open_mpi,
    _pmi,
)


def first_host(nodes: str) -> str:
    """Return the first host of a SLURM list such as ``node[01-03,07],login``.

    Args:
        nodes: hosts with commas between them; each may hold ranges in brackets, also several.

    Returns:
        The first one: each bracket gives its first number, zeros in front kept.

    Example:
        >>> from funcnet.parallel.launch.variables import first_host
        >>> first_host("rack[2-4]-node[01-03,07],login")
        'rack2-node01'
    """
    flat = re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", nodes)
    return flat.split(",")[0]


def _open_mpi_coordinator(known: Mapping[str, str], one_machine: bool) -> str | None:
    """Find where mpirun runs, which is where process 0 is; Open MPI 5 no longer tells."""
    said = known.get("OMPI_MCA_orte_hnp_uri", "")
    job = re.match(r"\d+", said)
    host = re.search(r"tcp://([^,:]+)|tcp6://(\[[^,\]]+)", said)
    port = _port_of_job(int(job.group()) >> 12 if job else 0)
    if host and not one_machine:
        return f"{host[1]}:{port}" if host[1] else f"{host[2]}]:{port}"
    return f"127.0.0.1:{port}" if one_machine else None


def _slurm_neighbours(known: Mapping[str, str]) -> int | None:
    """Count the tasks of one node: ``4(x2),3`` begins with two nodes of four."""
    said = known.get("SLURM_STEP_TASKS_PER_NODE") or known.get("SLURM_TASKS_PER_NODE", "")
    first = re.match(r"\d+", said)
    return int(first.group()) if first else None


def _own_devices(
    known: Mapping[str, str], local_rank: str, neighbours: int | None
) -> tuple[int, ...] | None:
    """Share a machine's accelerators among its processes, where the cluster has not done so.

    One process on a machine takes all; several take equal parts of what CUDA_VISIBLE_DEVICES lists, or one each.
    """
    rank = _number(known, local_rank)
    if rank is None or neighbours is None or neighbours == 1:
        return None
    visible = [name for name in known.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    if len(visible) == 1:
        return None
    share = len(visible) // neighbours or 1
    return tuple(range(rank * share, (rank + 1) * share))


def _port_of_job(job: int) -> int:
    """Choose two ports, this one and the next, that other jobs of the machine are unlikely to use."""
    return 61440 + 2 * (job % 2047)


def _with_port(address: str) -> str:
    return address if re.search(r":\d+$", address) else f"{address}:{_DEFAULT_PORT}"


def _number(known: Mapping[str, str], name: str) -> int | None:
    text = known.get(name)
    if text is None:
        return None
    if not text.strip().isdigit():
        raise ValueError(f"{name} should be a whole number of processes or a rank; it is {text!r}")
    return int(text)
