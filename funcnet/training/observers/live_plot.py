"""LivePlot: the curves of a run under way, in a notebook and as a file."""

import os
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from funcnet.core.checks import check_non_negative
from funcnet.core.files import as_path
from funcnet.core.paths import matches
from funcnet.training.loop.observer import Loop
from funcnet.training.observers.log import Log, numbers_in
from funcnet.training.pictures.curves import plot

__all__ = ["LivePlot"]

_SHARE = 0.05
"""Of a run's time, at most so much is spent on drawing."""


class LivePlot(Log):
    """Draw a run's curves again and again: one picture, in a notebook below the cell and, with a path, in a file.

    It is drawn by `funcnet.training.plot`. Between two drawings lie ``seconds`` at least, and as many more as keep
    the time of drawing under a twentieth; at the end of the run it is drawn in any case. Who opens the file finds a
    whole picture at any time.

    Args:
        path: of the file, ``.png``, ``.svg`` or ``.pdf``; None: the notebook alone.
        every: how many steps lie between two readings of the training metrics. None draws records only: epochs and
            evaluations.
        names: patterns of what to draw, as logs name it; ``"lr"`` or ``"gradient_norm*"`` add what others report.
        seconds: between two drawings, at least.
        log: metrics on a logarithmic scale, such as ``"loss"``.

    Raises:
        ImportError: raised by `fit`, matplotlib is not installed.
        ValueError: raised by `fit`, there is neither a path nor a notebook.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 4
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=3, evaluation=batches, progress=False,
        ...     observers=[fn.training.LivePlot("runs/linear.png")])
        >>> import pathlib
        >>> pathlib.Path("runs/linear.png").read_bytes()[1:4]
        b'PNG'
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        every: int | None = None,
        *,
        names: str | Iterable[str] = ("train/*", "eval/*"),
        seconds: float = 5.0,
        log: str | Iterable[str] = (),
    ) -> None:
        super().__init__(every)
        check_non_negative("seconds", seconds)
        self.path = None if path is None else as_path(path)
        self.names = (names,) if isinstance(names, str) else tuple(names)
        self.seconds, self.log = seconds, (log,) if isinstance(log, str) else tuple(log)
        self.records: list[dict[str, float]] = []
        self._shown: Any = None

    def open(self, loop: Loop) -> None:
        """Begin with the records of the run so far; meet what would fail at the first drawing."""
        if self.path is None and not _in_notebook():
            raise ValueError(
                'LivePlot has nowhere to draw: this is no notebook, so give it a path, LivePlot("runs/a.png")'
            )
        plot([{"step": 0, "loss": 1.0}], self.path and self.path.with_name(f".{self.path.name}"))
        if self.path is not None:
            self.path.with_name(f".{self.path.name}").unlink()
        self.records = [self._chosen(record) for record in loop.history.records]
        self._shown, self._next = None, time.monotonic() + min(self.seconds, 1.0)

    def write(self, loop: Loop, row: Mapping[str, Any]) -> None:
        """Add a point to each curve, and draw if it is time to."""
        place = {"step": loop.step, "epoch": loop.epoch}
        self.records.append(place | self._chosen(numbers_in(row)))
        if time.monotonic() >= self._next:
            self._draw()

    def close(self, loop: Loop) -> None:
        """Draw what there is."""
        self._draw()

    def _chosen(self, record: Mapping[str, float]) -> dict[str, float]:
        wanted = ("step", "epoch", *self.names)
        return {n: v for n, v in record.items() if any(matches(one, n) for one in wanted)}

    def _draw(self) -> None:
        begun = time.monotonic()
        if not any(record.keys() - {"step", "epoch"} for record in self.records):
            return
        drawn = {n.rpartition("/")[2] for record in self.records for n in record}
        figure = plot(self.records, self.path, log=[name for name in self.log if name in drawn])
        if _in_notebook():
            self._show(figure)
        now = time.monotonic()
        self._next = now + max(self.seconds, (now - begun) / _SHARE)

    def _show(self, figure: Any) -> None:
        from IPython.display import display

        if self._shown is None:
            self._shown = display(figure, display_id=True)
        else:
            self._shown.update(figure)


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules
