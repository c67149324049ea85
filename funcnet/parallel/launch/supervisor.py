"""One attempt at a job on this machine: its processes are started, watched, and ended together."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from funcnet.parallel.launch import variables
from funcnet.parallel.launch.failure import STUCK_CODE, ProcessFailure, Verdict, of_exit
from funcnet.parallel.launch.hub import Hub, Message
from funcnet.parallel.launch.hub_thread import note_message
from funcnet.parallel.launch.output import ProcessOutput
from funcnet.parallel.launch.reaper import Reaper, kill_group

__all__ = ["JobOptions", "Supervisor", "say"]

_TICK = 0.02


@dataclass(frozen=True)
class JobOptions:
    """What the user asked for.

    Attributes:
        command: the program and its arguments.
        processes: how many to start.
        devices: simulated CPU devices, or accelerators, of each; None means one of several processes, all for one.
        log_dir: where each process's output is written, too.
        grace: seconds between the request to stop and the kill.
        restarts: how often to start again after a failure.
        min_processes: the fewest to start again with, when some were killed; None means always all.
    """

    command: list[str]
    processes: int
    devices: int | None = None
    log_dir: Path | None = None
    grace: float = 30.0
    restarts: int = 0
    min_processes: int | None = None


def say(text: str) -> None:
    """Print a line of the launcher's own."""
    sys.stderr.write(f"launcher: {text}\n")
    sys.stderr.flush()


class Supervisor:
    """Runs all processes once.

    Args:
        options: what to run.
        processes: how many, this time.
        restart: how often the job was started before.
        asked: the signals that the launcher has got; its handler appends to it.
    """

    def __init__(
        self, options: JobOptions, processes: int, restart: int, asked: list[signal.Signals]
    ) -> None:
        self._options, self.processes, self._restart = options, processes, restart
        self._asked, self._obeyed, self._deadline = asked, 0, float("inf")
        self.verdict = Verdict()
        self._selector = selectors.DefaultSelector()
        self._coordinator = f"127.0.0.1:{_free_port()}"
        self._hub = Hub(self._selector, "127.0.0.1", 0, self._coordinator, self._handle)
        self._reaper = Reaper()
        self._children: list[subprocess.Popen[bytes]] = []
        self._streams: dict[int, list[ProcessOutput]] = {}
        self._logs: list[BinaryIO] = []
        self._stepping: set[int] = set()
        self._exited: dict[int, int] = {}

    def run(self) -> int:
        """Run the job to its end.

        Returns:
            The exit code: 0, that of the first failure, or 128 and the signal that stopped it.
        """
        try:
            for process in range(self.processes):
                self._spawn(process)
            code = self._watch()
        finally:
            self._kill()
            for child in self._children:
                child.wait()
            self._reaper.done()
            self._hub.close()
        self._finish_output()
        return code

    # ---- beginning --------------------------------------------------------------------------------

    def _spawn(self, process: int) -> None:
        child = subprocess.Popen(
            self._options.command,
            env=self._environment(process),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a group of its own, which is killed as a whole
        )
        self._reaper.watch(child.pid)
        self._children.append(child)
        assert child.stdout is not None
        assert child.stderr is not None
        log = self._open_log(process)
        self._streams[process] = [
            ProcessOutput(child.stdout, process, sys.stdout, log),
            ProcessOutput(child.stderr, process, sys.stderr, log),
        ]
        for stream in self._streams[process]:
            self._selector.register(stream, selectors.EVENT_READ, stream.read)

    def _environment(self, process: int) -> dict[str, str]:
        devices = self._options.devices or (1 if self._options.processes > 1 else None)
        added = {
            variables.COORDINATOR: self._coordinator,
            variables.PROCESSES: str(self.processes),
            variables.PROCESS: str(process),
            variables.LAUNCHER: f"127.0.0.1:{self._hub.port}",
            variables.RESTART: str(self._restart),
            "JAX_COORDINATOR_BIND_ADDRESS": self._coordinator,
            "PYTHONUNBUFFERED": "1",
        }
        if self._options.devices:
            added["JAX_NUM_CPU_DEVICES"] = str(self._options.devices)
        if devices:
            own = range(process * devices, (process + 1) * devices)
            added[variables.DEVICES] = ",".join(map(str, own))
        return {**os.environ, **added}

    def _open_log(self, process: int) -> BinaryIO | None:
        if self._options.log_dir is None:
            return None
        self._options.log_dir.mkdir(parents=True, exist_ok=True)
        name = f"attempt-{self._restart}-process-{process}.log"
        log = (self._options.log_dir / name).open("wb")
        self._logs.append(log)
        return log

    # ---- watching ---------------------------------------------------------------------------------

    def _watch(self) -> int:
        while True:
            ended = dict(self._exited)  # what they had to say is read before it is judged
            for key, _ in self._selector.select(_TICK):
                if key.data() is False:
                    self._selector.unregister(key.fileobj)
            now = time.monotonic()
            for process, status in ended.items():
                self._judge_exit(process, status, now)
            if self.verdict.is_ready(now, set(self._hub.members)):
                return self._fail()
            if len(ended) == self.processes:
                if self.verdict.failures:
                    return self._fail()
                return 128 + self._asked[0] if self._asked else max(ended.values())
            if len(self._asked) > self._obeyed:
                self._ask_to_stop(now)
            if now > self._deadline:
                say("the grace time is over")
                return 128 + self._asked[0]
            for stream in self._all_streams():
                stream.show(now)
            self._find_exited()

    def _find_exited(self) -> None:
        """See who has ended, and leave the zombie: nobody else gets its number while its group may be killed."""
        for process, child in enumerate(self._children):
            if process not in self._exited and (status := _status_of(child)) is not None:
                self._exited[process] = status

    def _judge_exit(self, process: int, status: int, now: float) -> None:
        if status >= 0 and process in self._hub.left:  # an orderly end, whatever its code
            return
        failure = of_exit(process, status, time.time())
        if failure is None and process in self._hub.heard:
            what = "ended with exit code 0 before the others, by os._exit"
            failure = ProcessFailure(process, what, 1, time.time())
        if failure is not None:
            self._add(failure, now)

    def _add(self, failure: ProcessFailure, now: float) -> None:
        if self._asked:  # an end that was asked for
            interrupted = failure.code in (128 + signal.SIGINT, 128 + signal.SIGTERM)
            if interrupted or failure.consequence:
                return
        self.verdict.add(failure, now)

    def _handle(self, process: int, message: Message) -> None:
        now = time.monotonic()
        if message["kind"] == "stepping":
            self._stepping.add(process)
        elif message["kind"] == "failed" and self._asked:
            self._add_reported(process, message, now)
        elif note_message(self.verdict, process, message, now):
            self._hub.broadcast("stacks")

    def _add_reported(self, process: int, message: Message, now: float) -> None:
        trial = Verdict()
        note_message(trial, process, message, now)
        self._add(trial.failures[process], now)

    # ---- ending -----------------------------------------------------------------------------------

    def _ask_to_stop(self, now: float) -> None:
        """Have processes save and leave; a second request is not to be waited for."""
        self._obeyed = len(self._asked)
        if self._obeyed > 1:
            self._deadline = now
            return
        self._deadline = now + self._options.grace
        # those that ask `alive` at each step agree on one; others get what a program alone would get
        number = signal.SIGTERM if self._stepping else signal.SIGINT
        say(
            f"{self._asked[0].name}: the processes have {self._options.grace:g} s to save and leave"
        )
        for process, child in enumerate(self._children):
            if process not in self._exited:
                os.kill(child.pid, number)

    def _kill(self) -> None:
        """Kill all processes with their children, also the children of one that has ended."""
        for child in self._children:
            kill_group(child.pid)

    def _fail(self) -> int:
        """End the job, then say why: a terminal may be slow."""
        first = self.verdict.first()
        if first.consequence:
            for process, seconds in self._hub.frozen().items():
                what = f"has given no sign of life for {seconds:.1f} s: it is frozen"
                failure = ProcessFailure(
                    process, what, STUCK_CODE, time.time() - seconds, killed=True
                )
                self.verdict.failures[process] = failure
            first = self.verdict.first()
        self._kill()
        for process, streams in self._streams.items():
            for stream in streams:
                stream.finish(keep=process == first.process)
        sys.stdout.flush()
        sys.stderr.write(self.verdict.report(self.processes))
        sys.stderr.flush()
        return first.code

    def _all_streams(self) -> list[ProcessOutput]:
        return [stream for streams in self._streams.values() for stream in streams]

    def _finish_output(self) -> None:
        for stream in self._all_streams():
            stream.finish(keep=self.verdict.begun is None)
        for process, failure in self.verdict.failures.items():
            if self._logs:
                self._logs[process].write(failure.report(self.processes).encode())
        for log in self._logs:
            log.close()
        self._selector.close()


def _status_of(child: subprocess.Popen[bytes]) -> int | None:
    if not hasattr(os, "waitid"):  # macOS
        return child.poll()
    found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
