"""Transforms: functions of a sample, given a generator where they want one."""

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from funcnet.data.datasets.base import dataset_name
from funcnet.data.order.sample_rng import SampleRng

__all__ = ["Transform", "as_transform", "owned"]

_IMMUTABLE = frozenset({int, float, complex, bool, str, bytes, type(None)})


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
            several = isinstance(function, list | tuple)
            raise TypeError(
                f"a transform must be a function of a sample; got {function!r}"
                + (": give its members one by one, as in Compose(first, second)" if several else "")
            )
        self.function = function
        self.name = _name(function)
        try:
            self.takes = tuple(inspect.signature(function).parameters)
        except ValueError:  # a function of C without a signature
            self.takes = ()
        self.random = "rng" in self.takes

    def __call__(self, sample: Any, sample_rng: SampleRng) -> Any:
        """Apply the function; when it fails, leave its name with the generator, for the report."""
        try:
            if self.random:
                return self.function(sample, rng=sample_rng.generator)
            return self.function(sample)
        except Exception:
            # The first to fail is the innermost: a transform made of transforms fails after it.
            sample_rng.failed_transform = sample_rng.failed_transform or self._failed_on(sample)
            raise

    def _failed_on(self, sample: Any) -> str:
        """Name it, and tell one that takes an image, and was given a whole sample, from others."""
        if self.takes[:1] != ("image",) or not isinstance(sample, (dict, tuple)):
            return self.name
        entry = "image" if isinstance(sample, dict) else 0
        return f"{self.name}, given a whole sample: write data.augment.On({entry!r}, {self.name})"

    def __repr__(self) -> str:
        return self.name


def owned(sample: Any) -> Any:
    """Copy what a transform could change in place, so that it changes its own sample only.

    Samples of data in memory are views of it, or its very objects. Arrays and containers of any kind
    are copied, and what else has a method ``clone`` or ``copy``, as tensors and images have. Of other
    objects the arrays and containers among their attributes are copied.

    Args:
        sample: what a dataset gave.

    Returns:
        The same, of the same types.

    Example:
        >>> from funcnet.data.datasets.transform import owned
        >>> table = np.zeros((2, 3))
        >>> owned({"x": table[0]})["x"][:] = 1
        >>> float(table.sum())
        0.0
    """
    kind = type(sample)
    if kind is np.ndarray:
        return sample.copy()
    if kind in _IMMUTABLE or isinstance(sample, (np.generic, type)):
        return sample
    if kind is dict:
        return {name: owned(value) for name, value in sample.items()}
    if kind is tuple or kind is list:
        return kind(map(owned, sample))
    if isinstance(sample, tuple):
        fields = getattr(sample, "_fields", None)
        return sample if fields is None else kind(*map(owned, sample))
    if isinstance(sample, (Mapping, list)) or dataclasses.is_dataclass(sample):
        return _owned_container(sample)
    for name in ("clone", "copy"):
        method = getattr(sample, name, None)
        if callable(method):
            return method()
    return _owned_object(sample) if isinstance(getattr(sample, "__dict__", None), dict) else sample


def _owned_object(sample: Any) -> Any:
    try:
        copied = copy.copy(sample)
    except Exception:  # a file, a lock: there is only one of it
        return sample
    if copied is not sample:
        for name, value in vars(sample).items():
            # No further down: objects may refer to each other in circles.
            if isinstance(value, (np.ndarray, dict, list, set)):
                vars(copied)[name] = copy.copy(value)
    return copied


def _owned_container(sample: Any) -> Any:
    if isinstance(sample, Mapping) and not hasattr(sample, "__setitem__"):
        return {name: owned(value) for name, value in sample.items()}
    copied: Any = copy.copy(sample)
    if dataclasses.is_dataclass(sample):
        for field in dataclasses.fields(sample):
            if hasattr(sample, field.name):
                # Past `__setattr__`, which a frozen class does not allow.
                object.__setattr__(copied, field.name, owned(getattr(sample, field.name)))
        return copied
    names = range(len(sample)) if isinstance(sample, list) else list(sample)
    for name in names:
        copied[name] = owned(sample[name])
    return copied


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
