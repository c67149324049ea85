"""What ended a job: failures as processes report them, and which of them was the first."""

import re
import signal
from dataclasses import dataclass, field

__all__ = ["ProcessFailure", "Verdict", "is_consequence", "of_exit"]

_SETTLE = 0.05
"""Seconds after a first failure in which an earlier one may still be reported."""

_SETTLE_ECHO = 0.3
"""The same, if all that failed so far looks like a consequence."""

_GATHER = 1.5
"""Seconds in which processes send their stacks."""

STUCK_CODE = 124
"""Exit code of a job that a watchdog ended, as ``timeout`` gives."""

_CONSEQUENCE = re.compile(
    r"gloo|nccl|coordination|heartbeat|barrier|connection|peer|socket|unavailable|deadline|distributed service",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ProcessFailure:
    """Why one process did not go on.

    Attributes:
        process: its rank.
        what: in a line.
        code: the exit code that the job gets.
        time: when it was, in seconds of any clock that all failures of a job share.
        text: traceback or stacks, as printed.
        consequence: whether it looks like what happens to a process when another one is gone.
        killed: whether a signal ended the process from outside.
    """

    process: int
    what: str
    code: int
    time: float
    text: str = ""
    consequence: bool = False
    killed: bool = False

    def report(self, processes: int) -> str:
        """Return what is printed, once."""
        head = f"process {self.process} of {processes} {self.what}"
        return f"{head}\n{self.text.rstrip()}\n" if self.text else f"{head}\n"


def is_consequence(error: BaseException) -> bool:
    """Tell whether an error is what a process raises because another one has gone."""
    kind = type(error).__name__
    return kind in {"JaxRuntimeError", "XlaRuntimeError"} and bool(_CONSEQUENCE.search(str(error)))


def of_exit(process: int, status: int, time: float) -> ProcessFailure | None:
    """Read a process's exit status, negative for a signal; None if it ended well."""
    if status == 0:
        return None
    if status > 0:
        return ProcessFailure(process, f"ended with exit code {status}", status, time)
    name = signal.Signals(-status).name
    hint = " (out of memory? the kernel's log says so)" if name == "SIGKILL" else ""
    # JAX's runtime aborts a process when it finds that another one is gone
    return ProcessFailure(
        process,
        f"was ended by {name}{hint}",
        128 - status,
        time,
        consequence=name == "SIGABRT",
        killed=name in {"SIGKILL", "SIGTERM", "SIGBUS"},
    )


@dataclass
class Verdict:
    """Collects what processes report until it is known which failure came first.

    Attributes:
        failures: one for each process that failed, the first that it reported.
        stacks: Python stacks by rank, where a process was stuck.
        steps: the steps that they were in.
        begun: when the first report came.
        stuck: the process that a watchdog reported.
    """

    failures: dict[int, ProcessFailure] = field(default_factory=dict[int, ProcessFailure])
    stacks: dict[int, str] = field(default_factory=dict[int, str])
    steps: dict[int, int | None] = field(default_factory=dict[int, int | None])
    begun: float | None = None
    stuck: ProcessFailure | None = None

    def add(self, failure: ProcessFailure, now: float) -> None:
        """Note a failure; the first report of a process counts, for it knows more than its exit code."""
        self.failures.setdefault(failure.process, failure)
        self.begun = now if self.begun is None else self.begun

    def add_stuck(self, failure: ProcessFailure, now: float) -> bool:
        """Note that a process waits for its step; True if stacks should be asked for."""
        if self.begun is not None:
            return False
        self.begun, self.stuck = now, failure
        return True

    def is_ready(self, now: float, reachable: set[int]) -> bool:
        """Tell whether nothing better will be known."""
        if self.begun is None:
            return False
        if self.stuck is None:
            causes = any(not failure.consequence for failure in self.failures.values())
            return now - self.begun > (_SETTLE if causes else _SETTLE_ECHO)
        return reachable <= self.stacks.keys() or now - self.begun > _GATHER

    def first(self) -> ProcessFailure:
        """Return the failure that caused the others."""
        found = [*self.failures.values(), *([self.stuck] if self.stuck else [])]
        return min(found, key=lambda failure: (failure.consequence, failure.time))

    def report(self, processes: int) -> str:
        """Return what is printed: the first failure, and where all processes were if one was stuck."""
        first = self.first()
        if first is not self.stuck:
            return first.report(processes)
        shown = [self._stack(process) for process in range(processes)]
        return "\n".join([first.report(processes), *shown])

    def _stack(self, process: int) -> str:
        if process not in self.stacks:
            return f"process {process}: no answer; it is frozen, or in code that lets no Python thread run\n"
        step = self.steps.get(process)
        where = "" if step is None else f", in step {step}"
        return f"process {process}{where}:\n{self.stacks[process].rstrip()}\n"
