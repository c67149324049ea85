"""Run as a script: writers that are killed at random points, and real runs for the test to kill.

``killed_child.py writers FOLDER SEED COUNT`` forks as many processes that write all logs as quickly as they can, kills
each at a random moment, and checks what it left; then a second one goes on from a step, and is checked, too. No JAX
computes here, so that forking is safe. ``killed_child.py run FOLDER`` is a run of `fit` with everything, which goes on
where it was.
"""

import csv
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import funcnet as fn
from funcnet.training import CSVLog, History, JSONLog, Loop
from funcnet.training.observers.tensorboard_events import records_of
from tests.training.observers.runs import HAS_TENSORBOARD


def logs_in(folder):
    found = [CSVLog(folder / "log.csv", every=1), JSONLog(folder / "log.jsonl", every=1)]
    if HAS_TENSORBOARD:
        found.append(fn.training.TensorBoardLog(folder / "events", every=1))
    return found


def write(folder, began, progress, last):
    """Drive logs as `fit` does, until killed; tell which step is wholly written."""
    logs = logs_in(folder)
    loop = Loop(Run(), began, None, None, None, History(), began=began)
    for log in logs:
        log.on_start(loop)
    for step in range(began + 1, last + 1):
        loop.step, loop.seconds = step, step * 0.001
        loop.read = lambda step=step: {"loss": 1 / step}
        if step % 11 == 0:
            loop.report({f"late/{step // 110}": step})
        for log in logs:
            log.on_step(loop)
            log.on_report(loop)
        loop.reported = {}
        if step % 7 == 0:  # an evaluation whose numbers join the row
            loop.record = {"step": step, "eval/loss": float(step)}
            for log in logs:
                log.on_evaluation(loop)
                log.on_report(loop)
        os.pwrite(progress, step.to_bytes(8, "little"), 0)
    for log in logs:
        log.on_end(loop)


class Run:
    params: dict = {}  # noqa: RUF012
    opt_state = ()


def killed_after(folder, began, seconds):
    """Have a process write, kill it, and return the last step that it said was written."""
    with tempfile.TemporaryFile() as file:
        progress = file.fileno()
        os.pwrite(progress, began.to_bytes(8, "little"), 0)
        child = os.fork()
        if not child:
            try:
                write(folder, began, progress, 10**9)
            finally:
                os._exit(1)
        limit = time.monotonic() + 10 * (random.random() < 0.8)  # some are killed as they begin
        while os.pread(progress, 8, 0) == began.to_bytes(8, "little") and time.monotonic() < limit:
            time.sleep(0.001)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return int.from_bytes(os.pread(progress, 8, 0), "little")


def lines_of(path):
    """Return the lines that are whole."""
    content = path.read_bytes() if path.exists() else b""
    return content[: content.rfind(b"\n") + 1].decode()


def check(folder, done, whole=False):
    """See that each step up to the last but one is there once, and whole."""
    rows = list(csv.DictReader(lines_of(folder / "log.csv").splitlines()))
    found = {"csv": [row["step"] for row in rows]}
    assert all(None not in row and None not in row.values() for row in rows)
    for row in rows[:-1]:
        step = int(row["step"])
        assert float(row["train/loss"]) == 1 / step
        assert row.get("eval/loss", "") == (f"{float(step)}" if step % 7 == 0 else "")
    rows = [json.loads(line) for line in lines_of(folder / "log.jsonl").splitlines()]
    assert all((row.get("eval/loss") == row["step"]) == (row["step"] % 7 == 0) for row in rows[:-1])
    found["json"] = [row["step"] for row in rows]
    if HAS_TENSORBOARD:
        found["events"] = events_in(folder / "events")
    for kind, steps in found.items():
        steps = [int(step) for step in steps]
        assert steps == [*range(1, len(steps) + 1)], (kind, steps[-5:])
        assert len(steps) >= (done if whole else done - 1), (kind, len(steps), done)


def events_in(folder):
    """Read the steps of a curve by TensorBoard's own loader."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    steps = []
    for path in sorted(folder.glob("events.*")):
        assert len([*records_of(path.read_bytes())]) >= 0
        for event in LegacyEventFileLoader(str(path)).Load():
            steps += [event.step for value in event.summary.value if value.tag == "train/loss"]
    return steps


def writers(folder, seed, count):
    random.seed(seed)
    with tempfile.TemporaryFile() as file:
        write(folder / "first", 0, file.fileno(), 20)  # what is imported on demand is there then
    total = 0
    for number in range(count):
        place = folder / f"{number}"
        done = killed_after(place, 0, random.uniform(0.0, 0.1))
        check(place, done)
        if done > 1:
            began = random.randint(1, done - 1)  # as a checkpoint before says
            again = killed_after(place, began, random.uniform(0.0, 0.12))
            check(place, max(again, began))
            with tempfile.TemporaryFile() as file:
                write(place, began, file.fileno(), began + 20)
            check(place, began + 20, whole=True)
            assert len(lines_of(place / "log.jsonl").splitlines()) == began + 20
        total += done
    assert total > 5 * count  # most of them were killed while they wrote
    print("ok", count)


def run(folder):
    from tests.training.observers.runs import fit, makers

    observers = [make() for name, make in makers(folder).items() if name != "Profile"]
    print("starts", flush=True)
    keep = fn.checkpoint.Checkpointer(folder / "run", every=3)
    trained, _ = fit(observers, epochs=40, evaluate_every=7, checkpoint=keep)
    print("ends", int(trained.step), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "writers":
        writers(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        run(Path(sys.argv[2]))
