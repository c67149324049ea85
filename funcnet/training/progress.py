"""A progress bar that also says when it compiles, and never waits for the device to draw itself."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

__all__ = ["Progress"]


class Progress:
    """Show an iteration over batches on a terminal.

    Args:
        batches: to iterate over; its ``len`` is shown if it has one.
        label: in front of the bar.
        show: draw nothing if False.
        every: seconds between two readings of the metrics.

    Raises:
        ImportError: tqdm is not installed; the message names the extra.

    Example:
        >>> bar = fn.training.Progress([1, 2, 3], "epoch 1", show=False)
        >>> sum(bar)
        6
    """

    def __init__(
        self, batches: Iterable[Any], label: str, *, show: bool = True, every: float = 0.2
    ) -> None:
        self.label = label
        self.every = every
        self._batches = batches
        self._shown = 0.0
        self._signatures: set[Any] = set()
        self._bar = _tqdm(batches, label) if show else None

    def __iter__(self) -> Iterator[Any]:
        """Iterate; close the bar at the end, however it comes."""
        try:
            yield from self._bar if self._bar is not None else self._batches
        finally:
            if self._bar is not None:
                self._bar.close()

    def call(self, step: Callable[..., Any], *args: Any, batch: Any, known: set[Any]) -> Any:
        """Call a jitted step; say "compiling" while it meets a batch of new shapes.

        Args:
            step: called as ``step(*args, batch)``.
            *args: its first arguments.
            batch: the last one, whose shapes are looked at.
            known: the shapes met so far, which the caller keeps from epoch to epoch.
        """
        signature = tuple(
            (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(batch) if hasattr(leaf, "dtype")
        )
        if signature in known or self._bar is None:
            known.add(signature)
            return step(*args, batch)
        known.add(signature)
        self._bar.set_description(f"{self.label} (compiling)")
        self._bar.refresh()
        result = step(*args, batch)
        self._bar.set_description(self.label)
        return result

    def show(self, read: Callable[[], dict[str, float]], *, now: bool = False) -> None:
        """Write numbers beside the bar, at most every few tenths of a second.

        Args:
            read: makes the numbers; called only when they are drawn, for reading waits for the device.
            now: draw them in any case.
        """
        if self._bar is None:
            return
        moment = time.monotonic()
        if now or moment - self._shown >= self.every:
            self._shown = moment
            self._bar.set_postfix(
                {name: f"{value:.4f}" for name, value in read().items()}, refresh=False
            )


def _tqdm(batches: Iterable[Any], label: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError(
            'the progress bar needs tqdm: pip install "funcnet[progress]", or pass progress=False'
        ) from error
    return tqdm(batches, desc=label, unit="batch", leave=True, dynamic_ncols=True)
