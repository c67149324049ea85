"""Logs of lines: a table for spreadsheets and pandas, and JSON for programs."""

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from funcnet.core.files import as_path
from funcnet.training.loop.observer import Loop
from funcnet.training.observers.append_file import AppendFile
from funcnet.training.observers.log import Log, numbers_in

__all__ = ["CSVLog", "JSONLog"]

_FIRST = ("step", "epoch", "seconds")
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class CSVLog(Log):
    """Write the numbers of a run to a table: one row a step, one column a number.

    A number that comes up later, such as those of evaluations, gets a column then; rows without it are empty there.
    What is not finite is written ``nan``, ``inf``, ``-inf``. Texts and pictures are left out.

    Each row is in the file when its step is over: a killed process loses the row that it was writing at most. A run
    that goes on (``fit(checkpoint=...)``, or a run that is passed to `fit` again) goes on with its file: rows after
    the step that it goes on from are removed first, so that each step is there once. A run that begins at step 0
    leaves what it finds beside the new file, as ``name.1.csv``, ``name.2.csv`` ... Two runs at a time in one file
    are an error.

    Args:
        path: of the file.
        every: how many steps lie between two readings of the training metrics; None: as the history has them, at the
            end of each epoch and at evaluations.

    Raises:
        OSError: raised by `fit`, the file cannot be written.
        ValueError: raised by `fit`, a run goes on, and the file is no log.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 4
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=2, evaluation=batches,
        ...     observers=[fn.training.CSVLog("runs/linear.csv", every=2)], progress=False)
        >>> with open("runs/linear.csv") as file:
        ...     rows = list(csv.DictReader(file))
        >>> [row["step"] for row in rows], [row for row in rows[0]]
        (['2', '4', '6', '8'], ['step', 'epoch', 'seconds', 'train/loss', 'eval/loss'])
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = 50) -> None:
        super().__init__(every)
        self.path = as_path(path)

    def open(self, loop: Loop) -> None:
        """Open the file; keep of it what this run goes on from."""
        self.file = AppendFile(self.path, "CSVLog")
        self.columns: list[str] = []
        self._last = _Last()
        try:
            if loop.began == 0:
                self.file.move_aside()
            elif rows := _table(_whole_lines(self.file.read()), self.path):
                self.columns = rows[0]
                kept = [row for row in rows[1:] if int(row[0]) <= loop.began]
                self._replace(kept)
                if kept:
                    old = dict(zip(self.columns, kept[-1], strict=False))
                    self._note({name: text for name, text in old.items() if text})
        except BaseException:
            self.file.close()
            raise

    def write(self, loop: Loop, row: Mapping[str, Any]) -> None:
        """Write a row, and the columns that it needs."""
        numbers = {"step": loop.step, "epoch": loop.epoch, "seconds": round(loop.seconds, 3)}
        found, again = numbers_in(row), self._last.step == loop.step
        if not found:
            return
        numbers |= (self._last.entries if again else {}) | found
        new = [name for name in numbers if name not in self.columns]
        if new and not self.columns:
            self.columns = new
            self.file.append_over(_lines([new, self._in_order(numbers)]), 0)
        elif new:
            old = _table(self.file.read(), self.path)[1:]
            self.columns += new
            self._replace([*(old[:-1] if again else old), [*map(str, self._in_order(numbers))]])
        else:
            line = _lines([self._in_order(numbers)])
            self.file.append_over(line, self._last.begins if again else self.file.size)
        self._note(numbers)

    def _note(self, entries: dict[str, Any]) -> None:
        """Remember the last row: what else comes at its step joins it."""
        length = len(_lines([self._in_order(entries)]))
        self._last = _Last(int(entries["step"]), entries, self.file.size - length)

    def close(self, loop: Loop) -> None:
        """Close the file."""
        self.file.close()

    def _in_order(self, numbers: Mapping[str, Any]) -> list[Any]:
        return [numbers.get(name, "") for name in self.columns]

    def _replace(self, rows: Iterable[list[str]]) -> None:
        width = len(self.columns)
        padded = ([*row, *[""] * (width - len(row))] for row in rows)
        self.file.replace(_lines([self.columns, *padded]))


class JSONLog(Log):
    """Write a run to a file of lines, each of which is a JSON object: ``step``, ``epoch``, ``seconds``, and more.

    Numbers and texts are written, pictures are left out. JSON has no numbers that are not finite: they are written as
    the texts ``"NaN"``, ``"Infinity"``, ``"-Infinity"``, of which Python's ``float`` and JavaScript's ``Number`` make
    numbers again. What is said of files in `CSVLog` holds here, too.

    Args:
        path: of the file, often ``.jsonl``.
        every: how many steps lie between two readings of the training metrics; None: as the history has them, at the
            end of each epoch and at evaluations.

    Raises:
        OSError: raised by `fit`, the file cannot be written.
        ValueError: raised by `fit`, a run goes on, and the file is no log.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 4
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=1,
        ...     observers=[fn.training.JSONLog("runs/linear.jsonl", every=2)], progress=False)
        >>> with open("runs/linear.jsonl") as file:
        ...     [sorted(json.loads(line)) for line in file]
        [['epoch', 'seconds', 'step', 'train/loss'], ['epoch', 'seconds', 'step', 'train/loss']]
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = 50) -> None:
        super().__init__(every)
        self.path = as_path(path)

    def open(self, loop: Loop) -> None:
        """Open the file; keep of it what this run goes on from."""
        self.file = AppendFile(self.path, "JSONLog")
        self._last = _Last()
        try:
            if loop.began == 0:
                self.file.move_aside()
            elif content := self.file.read():
                lines = _whole_lines(content).splitlines(keepends=True)
                kept = [line for line in lines if _step_of(line, self.path) <= loop.began]
                self.file.replace(b"".join(kept))
                if kept:
                    self._note(json.loads(kept[-1]), kept[-1])
        except BaseException:
            self.file.close()
            raise

    def write(self, loop: Loop, row: Mapping[str, Any]) -> None:
        """Write a line."""
        texts = {name: value for name, value in row.items() if isinstance(value, str)}
        found = {name: _in_json(value) for name, value in numbers_in(row).items()} | texts
        if not found:
            return
        again = self._last.step == loop.step
        entries = {"step": loop.step, "epoch": loop.epoch, "seconds": round(loop.seconds, 3)}
        entries |= (self._last.entries if again else {}) | found
        text = json.dumps(entries, ensure_ascii=False, allow_nan=False)
        line = text.encode("utf-8", "replace") + b"\n"
        self.file.append_over(line, self._last.begins if again else self.file.size)
        self._note(entries, line)

    def _note(self, entries: dict[str, Any], line: bytes) -> None:
        """Remember the last line: what else comes at its step joins it."""
        self._last = _Last(int(entries["step"]), entries, self.file.size - len(line))

    def close(self, loop: Loop) -> None:
        """Close the file."""
        self.file.close()


@dataclass(frozen=True)
class _Last:
    """The last row: its step, what it holds, and where it begins in the file."""

    step: int = -1
    entries: dict[str, Any] = field(default_factory=dict)
    begins: int = 0


def _whole_lines(content: bytes) -> bytes:
    """Leave out what a killed process began to write."""
    return content[: content.rfind(b"\n") + 1]


def _lines(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def _table(content: bytes, path: Any) -> list[list[str]]:
    rows: list[list[str]] = []
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))
        wrong = bool(rows) and (tuple(rows[0][:3]) != _FIRST or not all(map(_has_step, rows[1:])))
    except (UnicodeDecodeError, csv.Error):
        wrong = True
    if wrong:
        raise ValueError(_no_log(path, "CSVLog", f"a table that begins with {', '.join(_FIRST)}"))
    return rows


def _has_step(row: list[str]) -> bool:
    return bool(row) and row[0].isdecimal()


def _step_of(line: bytes, path: Any) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(_no_log(path, "JSONLog", "lines of JSON with a step each")) from None


def _no_log(path: Any, owner: str, expected: str) -> str:
    return (
        f"the run goes on, so {owner} would go on with {path}; but that is not {expected}: give another path, or move "
        "the file away"
    )


def _in_json(value: float) -> float | str:
    return value if math.isfinite(value) else _NOT_FINITE[str(float(value))]
