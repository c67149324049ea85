"""The hub of a job that no launcher watches: a thread of process 0."""

import os
import selectors
import sys
import threading
import time

from funcnet.parallel.launch.failure import STUCK_CODE, ProcessFailure, Verdict
from funcnet.parallel.launch.hub import Hub, Message

__all__ = ["HubThread", "note_message"]

_TICK = 0.02

_LAST = 0.5
"""Seconds that process 0 waits for the others to leave."""


def note_message(verdict: Verdict, process: int, message: Message, now: float) -> bool:
    """Add what a process reports to the verdict; True if stacks should be asked for."""
    kind, when = message["kind"], message.get("time", time.time())
    if kind == "failed":
        said = {name: message[name] for name in ("what", "text", "code", "consequence")}
        verdict.add(ProcessFailure(process, time=when, **said), now)
    elif kind == "stuck":
        return verdict.add_stuck(ProcessFailure(process, message["what"], STUCK_CODE, when), now)
    elif kind == "stacks":
        verdict.stacks[process], verdict.steps[process] = message["text"], message["step"]
    return False


class HubThread:
    """Prints the first failure of a job and ends all its processes, this one too.

    Args:
        port: where processes connect.
        job: the job's name.
        processes: how many there are.
        heartbeat: seconds of silence after which JAX ends the job; before that, a line names who is silent.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, port: int, job: str, processes: int, heartbeat: float) -> None:
        self._selector = selectors.DefaultSelector()
        self._verdict, self._processes, self._heartbeat = Verdict(), processes, heartbeat
        self._warned: set[int] = set()
        self._hub = Hub(self._selector, "", port, job, self._handle)
        threading.Thread(target=self._run, name="funcnet hub", daemon=True).start()

    def _run(self) -> None:
        while not self._verdict.is_ready(time.monotonic(), set(self._hub.members)):
            self._read()
            self._name_silent()
        code = self._verdict.first().code
        sys.stderr.write(self._verdict.report(self._processes))
        sys.stderr.flush()
        self._hub.broadcast("end", but=0, code=code)
        # JAX's service goes with this process, and its clients would complain: let them leave first
        end = time.monotonic() + _LAST
        while self._hub.members.keys() - {0} and time.monotonic() < end:
            self._read()
        os._exit(code)

    def _read(self) -> None:
        for key, _ in self._selector.select(_TICK):
            key.data()

    def _handle(self, process: int, message: Message) -> None:
        now = time.monotonic()
        if message["kind"] == "gone":
            what = "is gone without a word: killed, out of memory, os._exit, or its machine"
            self._verdict.add(ProcessFailure(process, what, 1, time.time()), now)
        elif note_message(self._verdict, process, message, now):
            self._hub.broadcast("stacks")

    def _name_silent(self) -> None:
        """Say who is frozen before JAX's runtime ends this process with a message that does not."""
        for process, seconds in self._hub.silent(0.7 * self._heartbeat).items():
            if process not in self._warned | self._hub.left:
                self._warned.add(process)
                sys.stderr.write(
                    f"process {process} of {self._processes} has given no sign of life for {seconds:.0f} s (frozen, "
                    f"or its network): the job ends after {self._heartbeat:g} s\n"
                )
                sys.stderr.flush()
