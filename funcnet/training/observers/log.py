"""What all logs have in common: one row a step, whatever the order in which observers were listed."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from funcnet.core.checks import check_count, check_positive
from funcnet.core.shardings import put_on
from funcnet.training.loop.observer import Loop, Observer

__all__ = [
    "Log",
    "check_every",
    "clean_text",
    "numbers_in",
    "plain_number",
    "whole_on_host",
]


class Log(Observer):
    """Something that writes rows: the base of `CSVLog`, `JSONLog` and `TensorBoardLog`.

    A row is written at each multiple of ``every``, at each evaluation, and at each step at which another observer
    reports something. It holds what there is at that step: the means of the training metrics since the row before
    (``train/loss``), the numbers of the evaluation (``eval/loss``), and what observers reported. A subclass says
    where it goes.

    Args:
        every: how many steps lie between two readings of the training metrics; None: as the history has them, at the
            end of each epoch and at evaluations.

    Example:
        >>> from funcnet.training.observers.log import Log
        >>> class Printed(Log):
        ...     def open(self, loop):
        ...         print("begins at step", loop.began)
        ...     def write(self, loop, row):
        ...         print(loop.step, sorted(row))
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 5
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=1, observers=[Printed(every=2)], progress=False)
        begins at step 0
        2 ['train/loss']
        4 ['train/loss']
        5 ['train/loss']
    """

    def __init__(self, every: int | None = 50) -> None:
        self.every = check_every("every", every)
        self._row: dict[str, Any] = {}
        self._reported: set[str] = set()
        self._read = 0
        self._open = False

    def open(self, loop: Loop) -> None:
        """Begin, or go on where the run goes on: behind the step ``loop.began``."""

    def write(self, loop: Loop, row: Mapping[str, Any]) -> None:
        """Write what there is at a step."""

    def close(self, loop: Loop) -> None:
        """End."""

    def on_start(self, loop: Loop) -> None:
        """Open; of several processes the first one alone writes."""
        self._row, self._read = {}, loop.step
        if loop.first:
            self.open(loop)
            self._open = True

    def on_step(self, loop: Loop) -> None:
        """Read the training metrics."""
        # what an observer measures and reports itself is logged at its own steps
        found = _training(loop.metrics)
        self._row |= {n: v for n, v in found.items() if n not in self._reported}
        self._read = loop.step

    def on_evaluation(self, loop: Loop) -> None:
        """Take the evaluation's numbers."""
        self._take_record(loop)

    def on_epoch(self, loop: Loop) -> None:
        """Take the epoch's numbers."""
        self._take_record(loop)

    def _take_record(self, loop: Loop) -> None:
        # with `every`, means over another number of steps have no place in the same column
        own = self.every is not None
        wanted = {name: value for name, value in loop.record.items() if "/" in name}
        found = {n: v for n, v in wanted.items() if not (own and n.startswith("train/"))}
        self._row = found | self._row

    def on_report(self, loop: Loop) -> None:
        """Write the row."""
        self._reported |= loop.reported.keys()
        row, self._row = self._row | loop.reported, {}
        if row and self._open:
            values = jax.device_get([*row.values()])  # of a dict it would sort the names
            self.write(loop, dict(zip(map(clean_text, row), values, strict=True)))

    def on_end(self, loop: Loop) -> None:
        """Write what is left, and close."""
        if not self._open:
            return
        try:
            if self.every is not None and self._read < loop.step and loop.error is None:
                self.on_step(loop)
            self.on_report(loop)
        finally:
            self._open = False
            self.close(loop)


def _training(metrics: Mapping[str, float]) -> dict[str, float]:
    """Name the means of a loop as records do; what observers measured has its own names."""
    return {name if "/" in name else f"train/{name}": value for name, value in metrics.items()}


def plain_number(value: Any) -> int | float | None:
    """Return a scalar of any kind as Python's, or None if it is none.

    Example:
        >>> from funcnet.training.observers.log import plain_number
        >>> plain_number(np.float32(0.5)), plain_number(np.int64(3)), plain_number("text")
        (0.5, 3, None)
    """
    if isinstance(value, int | float):
        return int(value) if isinstance(value, bool) else value
    if (
        isinstance(value, np.ndarray | np.generic | jax.Array)
        and value.ndim == 0
        and _is_real(value)
    ):
        return float(value) if value.dtype.kind in "fV" else int(value)
    return None


def _is_real(value: Any) -> bool:
    return value.dtype.kind in "biuf" or jnp.issubdtype(value.dtype, jnp.floating)


def clean_text(text: str) -> str:
    """Replace what UTF-8 cannot write.

    Example:
        >>> from funcnet.training.observers.log import clean_text
        >>> clean_text("half a pair: " + chr(0xD800))
        'half a pair: ?'
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def numbers_in(row: Mapping[str, Any]) -> dict[str, int | float]:
    """Return what of a row is a number.

    Example:
        >>> from funcnet.training.observers.log import numbers_in
        >>> numbers_in({"loss": 0.5, "samples/text": "once"})
        {'loss': 0.5}
    """
    pairs = ((name, plain_number(value)) for name, value in row.items())
    return {name: value for name, value in pairs if value is not None}


def whole_on_host(leaf: Any) -> Any:
    """Return an array as NumPy's, with the parts that other processes hold: all of them call this.

    Example:
        >>> from funcnet.training.observers.log import whole_on_host
        >>> whole_on_host(jnp.ones(2)).tolist()
        [1.0, 1.0]
    """
    if not isinstance(leaf, jax.Array):
        return leaf
    if not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        assert isinstance(leaf.sharding, NamedSharding)  # what fit puts on a mesh
        leaf = put_on(leaf, NamedSharding(leaf.sharding.mesh, PartitionSpec()))
    return np.asarray(leaf)


def check_every(name: str, every: int | None) -> int | None:
    """Return a number of steps, or None for never; complain of what is none.

    Example:
        >>> from funcnet.training.observers.log import check_every
        >>> check_every("every", 10)
        10
    """
    if every is not None:
        check_count(name, every)
        check_positive(name, every)
    return every
