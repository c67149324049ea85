"""A process's part in a job that ends when it fails: it reports, answers, and leaves when told to."""

import atexit
import builtins
import inspect
import os
import signal
import socket
import sys
import threading
import time
import traceback
from types import CodeType, FrameType, TracebackType
from typing import Any

from funcnet.parallel.launch.failure import STUCK_CODE, is_consequence
from funcnet.parallel.launch.hub import Lines, Message, split_address

__all__ = ["Member", "connect", "stacks"]

_EXIT_SOON = 1.0
"""Seconds that a failed process waits for the word that its report has been printed."""

_FLUSH = 0.2
"""Seconds in which a process that ends may write out what it has printed."""


def connect(address: str, seconds: float) -> Lines | None:
    """Connect to a hub, trying again until the time is over; None if it cannot be reached."""
    end = time.monotonic() + seconds
    while True:
        try:
            return Lines(socket.create_connection(split_address(address), timeout=5.0))
        except OSError:
            if time.monotonic() > end:
                return None
            time.sleep(0.05)


def stacks() -> str:
    """Return the Python stacks of all threads but the one that asks, the main thread first."""
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]  (documented, in spite of its name)
    own, main = threading.get_ident(), threading.main_thread()
    threads = sorted(threading.enumerate(), key=lambda thread: thread is not main)
    shown = [thread for thread in threads if thread.ident not in (own, None)]
    return "".join(
        f"thread {thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}"
        for thread in shown
        if thread.ident in frames
    )


class Member:
    """What `start` sets up in a process.

    Args:
        process: its rank.
        processes: how many there are.
        lines: the connection to the hub; None for a process alone.
        job: the job's name, which tells the hub that this process belongs to it.
        interval: seconds between two signs of life.
        step_timeout: seconds that a step may take; None for any time.
        launched: whether the hub is a launcher, which ends the others by itself.
    """

    def __init__(
        self,
        process: int,
        processes: int,
        lines: Lines | None,
        job: str,
        interval: float,
        step_timeout: float | None,
        launched: bool,
    ) -> None:
        self.process, self.processes = process, processes
        self.step: int | None = None
        self.seen = 0.0
        self.stepping = self.stop = self.stopped = False
        self._lines, self._job, self._launched = lines, job, launched
        self._step_timeout, self._leaving = step_timeout, False
        limits = [interval, *([step_timeout / 4] if step_timeout else [])]
        self._interval = max(0.05, min(limits))
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="funcnet job", daemon=True)

    def join(self) -> None:
        """Say hello, and take over what ends a process: errors, exit codes, and for one alone SIGTERM."""
        self._send("hello", process=self.process, job=self._job, interval=self._interval)
        sys.excepthook = self._on_error
        _note_exits()
        atexit.register(self._on_exit)
        _Exit.status = 0
        if self.processes == 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_terminate)
        self._thread.start()

    def first_step(self) -> None:
        """Tell the hub that this program asks at each step whether to go on."""
        self.stepping = True
        self._send("stepping")

    # ---- how a process ends ---------------------------------------------------------------------

    def _on_error(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Report an error that nobody caught, in place of ``sys.excepthook``."""
        code = 128 + signal.SIGINT if issubclass(kind, KeyboardInterrupt) else 1
        try:
            text = "".join(traceback.format_exception(kind, error, trace))
            self._fail(f"raised {kind.__name__}", text, code, is_consequence(error))
        finally:  # never back to Python, which would wait for the others
            os._exit(code)

    def _on_exit(self) -> None:
        """Say goodbye before JAX waits for the others, or report an exit code that is not 0.

        When the job was asked to stop, an exit code is no failure: the others may not have saved yet.
        """
        if _Exit.status not in (0, None) and not self.stopped:
            code = _Exit.status if isinstance(_Exit.status, int) else 1
            text = "" if isinstance(_Exit.status, int) else str(_Exit.status)
            self._fail(f"left by sys.exit({_Exit.status!r})", text, code & 0xFF or 1, False)
        self._leaving = True
        self._send("bye")

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        if not self.stepping or self.stop:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        self.stop = True

    def _fail(self, what: str, text: str, code: int, consequence: bool) -> None:
        """Report, and leave without the barrier at which JAX would wait for the others."""
        self._leaving = True
        said = self._send(
            "failed", what=what, text=text, code=code, consequence=consequence, time=time.time()
        )
        if not said:
            print(f"process {self.process} of {self.processes} {what}\n{text}", file=sys.stderr)  # noqa: T201
        if said and not self._launched:
            self._thread.join(_EXIT_SOON)
        _leave_at_once(code)

    # ---- the thread that listens ----------------------------------------------------------------

    def _watch(self) -> None:
        if self._lines is not None:
            self._lines.socket.settimeout(self._interval)
        while True:
            received: list[Message] | None = []
            if self._lines is None:
                time.sleep(self._interval)
            else:
                received = self._lines.receive()
            if received is None:
                self._hub_is_gone()
                return
            for message in received:
                self._obey(message)
            if not self._leaving:
                self._send("beat")
                self._watch_step()

    def _obey(self, message: Message) -> None:
        if message["kind"] == "stacks":
            self._send("stacks", text=stacks(), step=self.step)
        elif message["kind"] == "end":
            _leave_at_once(message.get("code", 1))

    def _hub_is_gone(self) -> None:
        if self._leaving:
            return
        if not self._launched and self.process == 1:  # one of them says so
            print(  # noqa: T201
                "process 0 is gone without a word (killed, out of memory, or its machine): the job ends",
                file=sys.stderr,
                flush=True,
            )
        _leave_at_once(1)

    def _watch_step(self) -> None:
        limit, step = self._step_timeout, self.step
        late = time.monotonic() - self.seen
        if limit is None or step is None or late < limit:
            return
        self._step_timeout = None  # once
        what = f"has been in step {step} for {late:.1f} s; step_timeout is {limit:g} s"
        if not self._send("stuck", what=what, time=time.time()):
            text = f"process {self.process} {what}\n{stacks()}"
            print(text, file=sys.stderr, flush=True)  # noqa: T201
            _leave_at_once(STUCK_CODE)

    def _send(self, kind: str, **more: Any) -> bool:
        with self._lock:
            return self._lines is not None and self._lines.send(kind, **more)


def _leave_at_once(code: int) -> None:
    """End the process without JAX's barrier; what it has printed goes out, unless that hangs."""
    try:
        flushing = threading.Thread(target=_flush, daemon=True)
        flushing.start()
        flushing.join(_FLUSH)
    finally:  # also where memory for a thread is lacking
        os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _note_exits() -> None:
    """Learn with which code the program ends: Python runs exit handlers without saying so.

    From Python 3.12 on, every SystemExit that leaves the outermost frame is seen; before, those of ``sys.exit``.
    """
    if sys.version_info >= (3, 12):
        watch = sys.monitoring
        if (tool := next((free for free in (4, 3) if not watch.get_tool(free)), None)) is not None:
            watch.use_tool_id(tool, "funcnet job")
            watch.register_callback(tool, watch.events.PY_UNWIND, _note_unwinding)
            watch.set_events(tool, watch.events.PY_UNWIND)
            return
    sys.exit = builtins.exit = builtins.quit = _leave  # pyright: ignore[reportAttributeAccessIssue]


def _note_unwinding(code: CodeType, offset: int, error: BaseException) -> None:
    if isinstance(error, SystemExit):
        frame = inspect.currentframe()
        left = frame.f_back if frame is not None else None
        outermost = left is not None and left.f_back is None
        if outermost and threading.current_thread() is threading.main_thread():
            _Exit.status = error.code


class _Exit(SystemExit):
    """What ``sys.exit`` raises: it tells a program's end from an exit that somebody catches.

    An exception that ends the program is freed when no frame is left; one that is caught, before.
    """

    status: Any = 0

    def __del__(self) -> None:
        frame = inspect.currentframe()
        if frame is not None and frame.f_back is None:
            _Exit.status = self.code


def _leave(status: Any = None, /) -> None:
    """Leave Python, as ``sys.exit`` does."""
    raise _Exit(status)
