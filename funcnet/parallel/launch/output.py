"""What processes print, with their ranks in front, on the launcher's terminal and in files."""

import os
import re
import time
from collections import deque
from typing import IO, BinaryIO, TextIO

__all__ = ["ProcessOutput"]

_HOLD = 2.0
"""Seconds that errors wait to be printed: when a job fails, what the other processes say of it is an echo."""

_ERROR = re.compile(r"[EFW]\d{4} \d\d:\d\d:\d\d\.\d|Traceback \(most recent call last\)")
"""How the lines of JAX's runtime and of Python begin."""

_CHATTER = re.compile(
    r"\[Gloo\] Rank |\d* ?is connected to \d+ peer ranks\. Expected number of connected peer ranks is : \d+\n?"
)
"""What the library of CPU collectives writes on standard output, from several threads at once."""


class ProcessOutput:
    """One pipe of one process.

    Args:
        pipe: the end to read.
        process: the rank, which is put in front of each line.
        target: the launcher's own stream.
        log: a file that gets everything as it is, or None.
    """

    def __init__(self, pipe: IO[bytes], process: int, target: TextIO, log: BinaryIO | None) -> None:
        self._pipe, self._target, self._log = pipe, target, log
        self._prefix = f"[{process}] "
        self._rest, self._echo = "", False
        self._waiting: deque[tuple[float, str]] = deque()
        os.set_blocking(pipe.fileno(), False)

    def fileno(self) -> int:
        """Return the descriptor that a selector waits for."""
        return self._pipe.fileno()

    def read(self) -> bool:
        """Take what has come; False if nothing has."""
        try:
            piece = os.read(self._pipe.fileno(), 1 << 16)
        except BlockingIOError:
            return False
        if self._log is not None:
            self._log.write(piece)
            self._log.flush()
        now = time.monotonic()
        for line in self._whole_lines(piece.decode(errors="replace")):
            self._waiting.append((now, line))
        self.show(now)
        return bool(piece)

    def _whole_lines(self, piece: str) -> list[str]:
        whole, end, rest = (self._rest + piece).rpartition("\n")
        if (
            not end
        ):  # a bar rewrites its line with carriage returns: each state of it is a line here
            whole, end, rest = rest.rpartition("\r")
        lines = re.split(r"(?<=[\n\r])", _CHATTER.sub("", whole + end))
        self._rest = lines.pop() + rest
        return [line for line in lines if line]

    def show(self, now: float) -> None:
        """Print the lines that need not wait, and those that have waited long enough."""
        while self._waiting:
            since, line = self._waiting[0]
            self._echo = self._echo or bool(_ERROR.match(line))
            if self._echo and now - since < _HOLD:
                return
            self._print(line)
            self._waiting.popleft()
        self._echo = False

    def finish(self, keep: bool) -> None:
        """Print the rest, or drop it; a child of the process may hold the pipe open for ever."""
        if self._pipe.closed:
            return
        while self.read():
            pass
        if keep:
            for line in [*(line for _, line in self._waiting), self._rest]:
                self._print(line)
        self._waiting.clear()
        self._rest = ""
        self._pipe.close()

    def _print(self, line: str) -> None:
        if line:
            self._target.write(self._prefix + line.rstrip("\r\n") + "\n")
            self._target.flush()
