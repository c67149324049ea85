"""A progress bar for a loop inside a compiled program."""

import threading
from collections.abc import Callable
from typing import Any

import jax

from funcnet.core.aliases import Array

__all__ = ["reporter"]

_UPDATES = 100


def reporter(label: str, size: int) -> Callable[[Array], None]:
    """Return a function that a traced loop calls with its step's number to move a bar.

    The host hears of about a hundred steps, whatever the length, so that the loop does not wait
    for it. The bar is set to a position rather than moved on by one: steps that run again in a
    backward pass, or once for each example under `vmap`, do no harm.

    Raises:
        ImportError: tqdm is not installed.
        TypeError: the label is no text.
    """
    if not isinstance(label, str):
        raise TypeError(f'progress is the label of the bar, as progress="steps"; got {label!r}')
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError('a progress bar needs tqdm: pip install "funcnet[progress]"') from error
    bars: list[Any] = []
    lock = threading.Lock()
    every = max(1, size // _UPDATES)

    def move(number: Any) -> None:
        done = int(number) + 1
        with lock:
            if not bars:
                bars.append(tqdm(total=size, desc=label))
            bars[0].update(max(0, done - bars[0].n))
            if done == size:
                bars.pop().close()

    def report(number: Array) -> None:
        due = (number % every == every - 1) | (number == size - 1)
        jax.lax.cond(due, lambda: jax.debug.callback(move, number), lambda: None)

    return report
