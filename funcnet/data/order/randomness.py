"""Randomness of a sample: a NumPy generator that depends on (seed, epoch, index) and nothing else."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Draw", "Step"]


class Draw:
    """The generator of one sample, made when the first transform asks for it.

    All transforms of a sample share it, in their order, whatever worker runs them.

    Args:
        key: non-negative integers, ``(seed, epoch, index)`` for a sample.

    Example:
        >>> from funcnet.data.order.randomness import Draw
        >>> Draw(0, 1, 2).rng.random() == Draw(0, 1, 2).rng.random()
        True
    """

    __slots__ = ("_rng", "failed", "key")

    def __init__(self, *key: int) -> None:
        self.key = key
        self.failed: str | None = None
        self._rng: np.random.Generator | None = None

    @property
    def rng(self) -> np.random.Generator:
        """The generator, the same object at every access."""
        if self._rng is None:
            self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.key)))
        return self._rng


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", None) or repr(function)


class Step:
    """A function of a sample, given a generator if it has a parameter named ``rng``.

    Args:
        function: ``function(sample)`` or ``function(sample, rng)``.

    Raises:
        TypeError: it cannot be called.

    Example:
        >>> from funcnet.data.order.randomness import Draw, Step
        >>> jitter = Step(lambda x, rng: x + rng.normal())
        >>> jitter(1.0, Draw(0, 0, 0)) == jitter(1.0, Draw(0, 0, 0))
        True
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        if not callable(function):
            raise TypeError(f"a transform must be a function of a sample; got {function!r}")
        self.function = function
        self.name = _name(function)
        try:
            self.random = "rng" in inspect.signature(function).parameters
        except ValueError:  # a function of C without a signature
            self.random = False

    def __call__(self, sample: Any, draw: Draw) -> Any:
        """Apply the function; on failure leave its name with the draw, for the report."""
        try:
            if self.random:
                return self.function(sample, rng=draw.rng)
            return self.function(sample)
        except Exception:
            draw.failed = draw.failed or self.name
            raise

    def __repr__(self) -> str:
        return self.name
