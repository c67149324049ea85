"""Training steps and single functions on a GPU beside PyTorch: ``python -m benchmarks.gpu``.

``--only gpt2 attention``   some rows
``--budget 300``            seconds in all; what does not fit is skipped, and said
``--out DIR``               where the table goes; benchmarks/results by default
``--tiny``                  small sizes, to see on any machine that everything runs

Every side runs in processes of its own. They compile side by side; each waits with the clock until all have compiled,
and then for its turn, so that nothing else runs while one is timed. There are two such rounds: what matters most, and
the rest. Times are milliseconds of one call: several in
flight, one wait, the median over turns. Memory is what one call needs: for JAX by the compiled program, for PyTorch
the peak that its allocator saw. The file is written after every row.
"""

import argparse
import fcntl
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import gpu_functions, gpu_sides, gpu_steps

RESULTS = Path(__file__).parent / "results"
STEPS, FUNCTIONS = gpu_steps.ROWS, gpu_functions.ROWS
ROWS = STEPS | FUNCTIONS
FIRST = [
    *("gpt2", "attention", "attention_long", "attention_grouped", "rnn", "lstm", "gru"),
    *("adaptive_avg_pool", "grid_sample", "linear_cross_entropy", "linear_cross_entropy_wide"),
]
"""What comes first, if there is not time for all."""
GROUPS = 3
"""Processes for the functions of one library: compiling is what takes time."""

Task = tuple[str, str]
"""A row's name and a side's."""


# ---- one process ---------------------------------------------------------------------------------


@contextmanager
def _locked(path: str, kind: int) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, kind)
        yield


def work(tasks: list[Task], lock: str, compile_until: float, tiny: bool) -> None:
    """Compile the tasks beside other processes, then time each alone; one line of JSON for each that is done."""
    made = []
    with _locked(lock, fcntl.LOCK_SH):
        _say(here=_machine(tasks[0][1]))
        for name, side in tasks:
            if time.time() > compile_until:
                _say(row=name, side=side, skipped="no time left to compile it")
                continue
            started = time.time()
            try:
                made.append((name, side, ROWS[name].sides[side](tiny), time.time() - started))
            except Exception as error:
                _say(row=name, side=side, skipped=_short(error))
        _say(compiled=len(made))
    for name, side, prepared, seconds in made:
        with _locked(lock, fcntl.LOCK_EX):
            try:
                timed = gpu_sides.milliseconds(prepared)
                _say(row=name, side=side, ms=timed, gib=prepared.gibibytes(), start_s=seconds)
            except Exception as error:
                _say(row=name, side=side, skipped=_short(error))


def _short(error: Exception) -> str:
    traceback.print_exc()
    return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"


def _say(**line: Any) -> None:
    print("@" + json.dumps(line), flush=True)


def _machine(side: str) -> dict[str, str]:
    if side.startswith("torch"):
        import torch

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        return {"torch": torch.__version__, "device": device}
    import jax

    return {"jax": jax.__version__, "device": jax.devices()[0].device_kind}


# ---- all of them ---------------------------------------------------------------------------------


class Process:
    """A worker, and a thread that reads what it says."""

    def __init__(self, tasks: list[Task], lock: str, compile_until: float, tiny: bool) -> None:
        self.left = list(tasks)
        self.compiled = False
        self.lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        settings = json.dumps([tasks, lock, compile_until, tiny])
        command = [sys.executable, "-m", "benchmarks.gpu", "--worker", settings]
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read after the process has ended
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, start_new_session=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                self.lines.put(json.loads(line[1:]))
        self.lines.put(None)

    def kill(self) -> None:
        """End the worker and the compilers that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_words(self) -> str:
        """Return the end of what the worker wrote as errors."""
        self.log.seek(0)
        return self.log.read()[-600:]


class Report:
    """What was measured; written anew after every line, if there is a folder."""

    def __init__(self, folder: Path | None, asked: list[str], tiny: bool) -> None:
        self.asked = asked
        self.date = date.today().isoformat()
        self.machine: dict[str, str] = {}
        self.found: dict[str, dict[str, Any]] = {}
        self.folder, self.tiny = folder, tiny
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def add(self, line: dict[str, Any]) -> None:
        """Keep one line of a worker."""
        if "here" in line:
            self.machine |= line["here"]
        elif "row" in line:
            self.found.setdefault(line["row"], {})[line["side"]] = line
            print(_shown(line), flush=True)
        self.write()

    def write(self) -> None:
        """Write the numbers as JSON and the table as Markdown, under the machine's name."""
        if self.folder is None:
            return
        name = self.machine.get("device", "unknown").lower().replace(" ", "-")
        stem = self.folder / f"{'tiny-' if self.tiny else ''}gpu-{name}"
        content = {"date": self.date, "machine": self.machine, "rows": self.found}
        stem.with_suffix(".json").write_text(json.dumps(content, indent=1))
        stem.with_suffix(".md").write_text(self.table())

    def table(self) -> str:
        """Lay the rows out as a table in Markdown."""
        title = ", ".join(f"{key} {value}" for key, value in sorted(self.machine.items()))
        lines = [f"# {self.date}, {title}", ""]
        for part, rows in (("whole steps", STEPS), ("forward and backward", FUNCTIONS)):
            lines += [
                f"| {part} | side | ms | GiB | of the best of torch |",
                "|---|---|---|---|---|",
            ]
            for name in self.asked:
                if name in rows:
                    lines += self._lines(rows[name], self.found.get(name, {}))
            lines.append("")
        return "\n".join(lines)

    def _lines(self, row: Any, found: dict[str, Any]) -> Iterable[str]:
        times = [v["ms"] for k, v in found.items() if k.startswith("torch") and "ms" in v]
        best = min(times, default=float("nan"))
        for side in row.sides:
            line = found.get(side, {"skipped": "not run"})
            if "ms" in line:
                shown = f"{line['ms']:.3f} | {_gib(line)} | {line['ms'] / best:.2f}"
            else:
                shown = f"{line['skipped']} | |"
            yield f"| {row.title} | {side} | {shown} |"


def _gib(line: dict[str, Any]) -> str:
    return "" if line["gib"] is None else f"{line['gib']:.2f}"


def _shown(line: dict[str, Any]) -> str:
    result = f"{line['ms']:9.3f} ms {_gib(line):>7} GiB" if "ms" in line else line["skipped"]
    return f"{ROWS[line['row']].title:45} {line['side']:32} {result}"


def run(groups: list[list[Task]], report: Report, until: float, tiny: bool) -> None:
    """Run each group in a process; those that have not compiled after three quarters of the time are ended."""
    if not groups:
        return
    compile_until = time.time() + 0.75 * (until - time.time())
    stop_at = compile_until - 0.1 * (until - time.time())  # one more may be under way
    with tempfile.NamedTemporaryFile() as lock:
        running = [Process(tasks, lock.name, stop_at, tiny) for tasks in groups]
        while running:
            time.sleep(0.05)
            for process in list(running):
                if not _listen(process, report):
                    running.remove(process)
                late = time.time() > (until if process.compiled else compile_until)
                if process in running and late:
                    process.kill()
                    running.remove(process)
                    _give_up(process, report, "no time left")


def _listen(process: Process, report: Report) -> bool:
    """Take what a worker has said; return whether it may say more."""
    while not process.lines.empty():
        line = process.lines.get()
        if line is None:
            process.kill()
            _give_up(process, report, "its process ended")
            return False
        process.compiled |= "compiled" in line
        if "row" in line:
            process.left.remove((line["row"], line["side"]))
        report.add(line)
    return True


def _give_up(process: Process, report: Report, why: str) -> None:
    if process.left:
        print(process.last_words(), flush=True)
    for name, side in process.left:
        report.add({"row": name, "side": side, "skipped": why})


def _groups(names: Iterable[str], sides: str) -> list[list[Task]]:
    """Each side of a step has a process of its own; the functions of one library share a few."""
    chosen = [(name, side) for name in names for side in ROWS[name].sides if sides in side]
    groups = [[task] for task in chosen if task[0] in STEPS]
    for side in ("funcnet", "torch", "torch.compile"):
        tasks = [task for task in chosen if task[0] in FUNCTIONS and task[1] == side]
        count = 1 if side == "torch" else GROUPS
        groups += [tasks[start::count] for start in range(count)]
    return [tasks for tasks in groups if tasks]


def main() -> None:
    """Time what was asked for, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--sides", default="", help="only sides whose name has this in it")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        tasks, *settings = json.loads(args.worker)
        return work([(name, side) for name, side in tasks], *settings)
    started = time.time()
    report = Report(args.out, args.only, args.tiny)
    waves = ([n for n in args.only if n in FIRST], [n for n in args.only if n not in FIRST])
    for number, names in enumerate(waves):
        left = started + args.budget - time.time()
        share = 0.6 if number == 0 and waves[1] else 1.0
        run(_groups(names, args.sides), report, time.time() + share * left, args.tiny)
    report.write()
    print(report.table())


if __name__ == "__main__":
    gpu_sides.quiet_settings()
    main()
