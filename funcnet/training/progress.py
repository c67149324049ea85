"""Progress of an iteration: a bar on a terminal, lines in a log; neither waits for the device to be drawn."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

__all__ = ["Progress", "known_length"]


class Progress:
    """Show an iteration over batches: a bar where it can be redrawn, else a line now and then.

    A bar needs tqdm, and a terminal or a notebook; a log file or a pipe gets lines, as does a machine
    without tqdm.

    Args:
        batches: to iterate over; its ``len`` is shown if it has one.
        label: in front of the bar.
        show: draw nothing if False.
        every: seconds between two readings of the metrics for a bar.
        line_every: seconds between two lines in a log.
        done: batches of the same epoch that were made before, where it goes on within one.
        total: how many there will be, where that is less than ``batches`` has, or where those do not know.

    Example:
        >>> bar = fn.training.Progress([1, 2, 3], "epoch 1", show=False)
        >>> sum(bar)
        6
    """

    def __init__(
        self,
        batches: Iterable[Any],
        label: str,
        *,
        show: bool = True,
        every: float = 0.2,
        line_every: float = 10.0,
        done: int = 0,
        total: int | None = None,
    ) -> None:
        total = _least(known_length(batches), total)
        self.label = label
        self._batches = batches
        self._called = False
        self._display = _display(total, label, line_every, done) if show else None
        # the first reading waits a little, too: what is shown at once would wait for the first step
        self._every = line_every if isinstance(self._display, _Lines) else every
        self._shown = time.monotonic()

    def __iter__(self) -> Iterator[Any]:
        """Iterate; close the bar at the end, however it comes."""
        if self._display is None:
            yield from self._batches
            return
        try:
            for batch in self._batches:
                self._called = False
                yield batch
                self._display.advance()
        except (
            GeneratorExit
        ):  # the loop ended within this batch: it counts if a step was made with it
            if self._called:
                self._display.advance()
            raise
        finally:
            self._display.close()

    def call(self, step: Callable[..., Any], *args: Any, batch: Any, known: set[Any]) -> Any:
        """Call a jitted step; say "compiling" while it meets a batch of new shapes.

        Args:
            step: called as ``step(*args, batch)``.
            *args: its first arguments.
            batch: the last one, whose shapes are looked at.
            known: the shapes met so far, which the caller keeps from epoch to epoch.
        """
        self._called = True
        if self._display is None and known:
            return step(*args, batch)
        signature = tuple(
            (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(batch) if hasattr(leaf, "dtype")
        )
        if signature in known or self._display is None:
            known.add(signature)
            return step(*args, batch)
        known.add(signature)
        self._display.name(f"{self.label} (compiling)")
        result = step(*args, batch)
        self._display.name(self.label)
        return result

    def show(self, read: Callable[[], dict[str, float]], *, now: bool = False) -> None:
        """Write numbers beside the bar, at most every few tenths of a second; in a log, every few seconds.

        Args:
            read: makes the numbers; called only when they are drawn, because reading waits for the device.
            now: draw them in any case.
        """
        if self._display is None:
            return
        moment = time.monotonic()
        if now or moment - self._shown >= self._every:
            self._shown = moment
            self._display.numbers(
                ", ".join(f"{name}={value:.4f}" for name, value in read().items())
            )

    def print(self, text: str) -> None:
        """Print a line; above the bar, if there is one under way.

        Args:
            text: of the line.
        """
        if isinstance(self._display, _Bar):
            self._display.print(text)
        else:
            print(text, flush=True)  # noqa: T201


class _Bar:
    """A bar of tqdm, redrawn in place."""

    def __init__(self, tqdm: Any, total: int | None, label: str, done: int) -> None:
        settings = {"desc": label, "unit": "batch", "leave": True, "dynamic_ncols": True}
        self.bar = tqdm(total=total, initial=done, **settings)

    def advance(self) -> None:
        self.bar.update(1)

    def name(self, label: str) -> None:
        self.bar.set_description(label)

    def numbers(self, text: str) -> None:
        self.bar.set_postfix_str(text, refresh=False)

    def print(self, text: str) -> None:
        with self.bar.external_write_mode():
            print(text, flush=True)  # noqa: T201

    def close(self) -> None:
        self.bar.close()


class _Lines:
    """Lines on standard error, for what cannot be redrawn."""

    def __init__(self, total: int | None, label: str, every: float, done: int) -> None:
        self.total = total
        self.label = label
        self.done = done
        self.started = time.monotonic()
        self.every = every

    def advance(self) -> None:
        self.done += 1

    def name(self, label: str) -> None:
        if label != self.label and not self.label.startswith(
            label
        ):  # it compiles, and then no longer
            print(label, file=sys.stderr, flush=True)  # noqa: T201
        self.label = label

    def numbers(self, text: str) -> None:
        self._write(text)

    def close(self) -> None:
        if time.monotonic() - self.started >= self.every:
            self._write("")

    def _write(self, text: str) -> None:
        whole = "" if self.total is None else f"/{self.total}"
        seconds = time.monotonic() - self.started
        line = f"{self.label}: {self.done}{whole} batches in {seconds:.0f} s"
        print(f"{line}, {text}" if text else line, file=sys.stderr, flush=True)  # noqa: T201


def known_length(batches: Any) -> int | None:
    """Return how many batches there are, if that is known: a loader of a stream has a ``len`` that does not know.

    Example:
        >>> from funcnet.training.progress import known_length
        >>> known_length([1, 2]), known_length(iter([1, 2]))
        (2, None)
    """
    try:
        return len(batches)
    except TypeError:
        return None


def _least(*numbers: int | None) -> int | None:
    return min((number for number in numbers if number is not None), default=None)


def _display(total: int | None, label: str, line_every: float, done: int) -> _Bar | _Lines:
    notebook = "ipykernel" in sys.modules
    if notebook or getattr(sys.stderr, "isatty", lambda: False)():
        try:
            from tqdm.auto import tqdm
        except ImportError:
            pass
        else:
            return _Bar(tqdm, total, label, done)
    return _Lines(total, label, line_every, done)
