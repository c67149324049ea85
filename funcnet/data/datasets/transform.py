"""Transforms: functions of a sample, given a generator where they want one."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from funcnet.data.datasets.base import dataset_name
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["Transform", "as_transform"]


def _name(function: Any) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__qualname__", None) or repr(function)


class Transform:
    """A function of a sample, given a generator if it has a parameter named ``rng``.

    Args:
        function: ``function(sample)`` or ``function(sample, rng)``.

    Raises:
        TypeError: it cannot be called.

    Example:
        >>> from funcnet.data.datasets.transform import SampleRng, Transform
        >>> jitter = Transform(lambda x, rng: x + rng.normal())
        >>> jitter(1.0, SampleRng(0, 0, 0)) == jitter(1.0, SampleRng(0, 0, 0))
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

    def __call__(self, sample: Any, sample_rng: SampleRng) -> Any:
        """Apply the function; when it fails, leave its name with the generator, for the report."""
        try:
            if self.random:
                return self.function(sample, rng=sample_rng.generator)
            return self.function(sample)
        except Exception:
            # The first to fail is the innermost: a transform made of transforms fails after it.
            sample_rng.failed_transform = sample_rng.failed_transform or self.name
            raise

    def __repr__(self) -> str:
        return self.name


def as_transform(caller: str, function: Any, dataset: Any) -> Transform:
    """Make a transform of the first argument of `map`, `filter` or `flat_map`.

    Args:
        caller: the name of that function, for the message.
        function: its first argument.
        dataset: its second argument.

    Raises:
        TypeError: the dataset came first, or the function cannot be called.

    Example:
        >>> from funcnet.data.datasets.transform import as_transform
        >>> as_transform("map", len, ["a", "bc"])
        len
    """
    # A dataset may be callable, and a callable object iterable: the order is wrong only where the
    # arguments make sense the other way round, and do not as they stand.
    swapped = _is_dataset(function) and callable(dataset)
    if swapped and not (callable(function) and _is_dataset(dataset)):
        raise TypeError(
            f"{caller} takes the function first, as Python's own map and filter do: write"
            f" data.{caller}(function, dataset); the first argument was {dataset_name(function)}"
        )
    return Transform(function)


def _is_dataset(value: Any) -> bool:
    return not isinstance(value, type) and (
        hasattr(value, "__getitem__") or hasattr(value, "__iter__")
    )
