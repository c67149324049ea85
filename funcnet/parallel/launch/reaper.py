"""Ends a job's processes when its launcher was killed and could not.

Run as a program of its own, which imports nothing of funcnet: it reads process groups from a pipe of the launcher, line
by line, and when the pipe ends without ``done``, however that came about, kills them with all their children.
"""

import contextlib
import os
import signal
import subprocess
import sys

__all__ = ["Reaper", "kill_group"]


def kill_group(group: int) -> None:
    """Kill a process and the children in its group, if there are any left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


class Reaper:
    """The launcher's side of it."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, group: int) -> None:
        """Have a process group killed if the launcher dies."""
        self._write(f"{group}\n")

    def done(self) -> None:
        """Let the reaper go: all groups have ended."""
        self._write("done\n")
        assert self._program.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._program.stdin.close()
        self._program.wait()

    def _write(self, text: str) -> None:
        assert self._program.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._program.stdin.write(text.encode())
            self._program.stdin.flush()


def _reap() -> None:
    groups: list[int] = []
    for line in sys.stdin:
        if line == "done\n":
            return
        groups.append(int(line))
    for group in groups:
        kill_group(group)


if __name__ == "__main__":
    _reap()
