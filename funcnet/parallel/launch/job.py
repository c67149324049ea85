"""The launcher's command line, and starting again after a failure."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from funcnet.parallel.launch.supervisor import JobOptions, Supervisor, say

__all__ = ["parse_options", "run_job"]


def parse_options(arguments: Sequence[str] | None = None) -> JobOptions:
    """Read the command line.

    Args:
        arguments: those of the program by default.

    Returns:
        What to run.

    Raises:
        SystemExit: the command line is wrong; usage and error are printed.

    Example:
        >>> from funcnet.parallel.launch.job import parse_options
        >>> parse_options(["--processes", "2", "-m", "train", "--lr", "0.1"]).command[1:]
        ['-m', 'train', '--lr', '0.1']
    """
    parser = argparse.ArgumentParser(
        prog="python -m funcnet.parallel.launch",
        description="Start a program as several processes of one job on this machine; they end together. "
        "The program calls funcnet.parallel.start() first.",
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="how many (1)")
    parser.add_argument(
        "--devices-per-process",
        type=int,
        metavar="N",
        help="accelerators of each, or simulated devices on CPU",
    )
    parser.add_argument(
        "--restarts", type=int, default=0, metavar="N", help="start again after a failure"
    )
    parser.add_argument(
        "--min-processes",
        type=int,
        metavar="N",
        help="start again without those that were killed or frozen, with so many at least",
    )
    parser.add_argument("--log-dir", type=Path, help="write each process's output to a file, too")
    parser.add_argument(
        "--grace",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds to save and leave after Ctrl-C or SIGTERM (30)",
    )
    parser.add_argument("-m", dest="module", action="store_true", help="the program is a module")
    parser.add_argument("program", help="a script, or with -m a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the program's own")
    asked = parser.parse_args(arguments)
    if os.name != "posix":
        parser.error("process groups are needed: Linux, macOS, or WSL on Windows")
    for name in ("processes", "devices_per_process", "min_processes"):
        if getattr(asked, name) is not None and getattr(asked, name) < 1:
            parser.error(
                f"--{name.replace('_', '-')} has to be 1 or more; got {getattr(asked, name)}"
            )
    if asked.restarts < 0 or asked.grace < 0:
        parser.error("--restarts and --grace cannot be negative")
    if asked.min_processes and asked.min_processes > asked.processes:
        parser.error(
            f"--min-processes {asked.min_processes} is more than --processes {asked.processes}"
        )
    if not asked.module and not Path(asked.program).is_file():
        parser.error(f"there is no file {asked.program}; a module is started with -m")
    flag = ["-m"] if asked.module else []
    return JobOptions(
        [sys.executable, *flag, asked.program, *asked.arguments],
        asked.processes,
        asked.devices_per_process,
        asked.log_dir,
        asked.grace,
        asked.restarts,
        asked.min_processes,
    )


def run_job(options: JobOptions) -> int:
    """Run a job, again after each failure as often as was asked for.

    Args:
        options: what to run.

    Returns:
        The exit code of the last attempt.
    """
    asked: list[signal.Signals] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(signal.Signals(number))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    processes = options.processes
    for restart in range(options.restarts + 1):
        attempt = Supervisor(options, processes, restart, asked)
        code = attempt.run()
        if code == 0 or asked or restart == options.restarts:
            return code
        processes = _left(options, processes, attempt)
        plural = "es" if processes > 1 else ""
        say(f"restart {restart + 1} of {options.restarts}, with {processes} process{plural}")
    raise AssertionError("unreachable")


def _left(options: JobOptions, processes: int, attempt: Supervisor) -> int:
    """Leave out what was killed, if fewer processes are allowed."""
    if options.min_processes is None:
        return processes
    killed = sum(failure.killed for failure in attempt.verdict.failures.values())
    return max(options.min_processes, processes - killed)
