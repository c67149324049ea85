"""Checks of arguments: each message says what was expected, what came, what to write instead."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = [
    "check_choice",
    "check_count",
    "check_divisible",
    "check_fill",
    "check_fraction",
    "check_ndim",
    "check_non_negative",
    "check_positive",
    "check_probability",
    "per_axis",
]


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise ``ValueError`` unless the value is one of the choices.

    >>> check_choice("reduction", "mean", ("none", "mean", "sum"))
    """
    choices = tuple(choices)
    if value not in choices:
        expected = ", ".join(map(repr, choices))
        raise ValueError(f"{name} must be one of {expected}; got {value!r}")


def _numbers(name: str, value: Any) -> Sequence[Any]:
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    for number in values:
        if number is None or isinstance(number, str):
            raise TypeError(f"{name} must be a number; got {value!r}")
    return values


def check_count(name: str, value: Any) -> None:
    """Raise ``TypeError`` unless the number is a whole one.

    >>> check_count("batch_size", 32)
    """
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be a whole number; got {value!r}")


def check_positive(name: str, value: Any) -> None:
    """Raise ``ValueError`` unless the number (or each number of a tuple) is above zero.

    >>> check_positive("kernel_size", (3, 3))
    """
    values = _numbers(name, value)
    if not all(number > 0 for number in values):
        raise ValueError(f"{name} must be greater than zero; got {value!r}")


def check_non_negative(name: str, value: Any) -> None:
    """Raise ``ValueError`` if the number (or a number of a tuple) is below zero.

    >>> check_non_negative("padding", 0)
    """
    values = _numbers(name, value)
    if any(number < 0 for number in values):
        raise ValueError(f"{name} must not be negative; got {value!r}")


def check_probability(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``0 <= value <= 1``.

    >>> check_probability("p", 0.5)
    """
    check_fraction(f"{name} is a probability and", value)


def check_fraction(name: str, value: float) -> None:
    """Raise ``ValueError`` unless ``0 <= value <= 1``, for a share or a factor that is no probability.

    >>> check_fraction("end_factor", 0.5)
    """
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} must lie in [0, 1]; got {value!r}")


def check_divisible(name: str, value: int, by_name: str, by: int) -> None:
    """Raise ``ValueError`` unless one size is a multiple of another.

    >>> check_divisible("embed_dim", 512, "num_heads", 8)
    """
    if value % by:
        raise ValueError(f"{name} must be divisible by {by_name}; got {value} and {by}")


def check_fill(name: str, value: Any, dtype: np.dtype) -> None:
    """Raise ``ValueError`` if a number would be another one in a dtype: ½ or NaN in integers, too large for floats.

    >>> check_fill("padding_value", -100, np.dtype("int32"))
    """
    if dtype.kind == "f" and np.isfinite(value) and abs(value) > float(np.finfo(dtype).max):
        raise ValueError(f"{name}={value} is no number that {dtype} holds")
    if dtype.kind not in "biu":
        return
    limits = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if not (limits[0] <= value <= limits[1] and float(value).is_integer()):
        raise ValueError(f"{name}={value} is no number that {dtype} holds")


def check_ndim(name: str, ndim: int, allowed: Sequence[int], layout: str) -> None:
    """Raise ``ValueError`` unless an array has one of the allowed numbers of axes.

    >>> check_ndim("input", 4, (3, 4), "(C, H, W) or (N, C, H, W)")
    """
    if ndim not in allowed:
        raise ValueError(f"{name} must have shape {layout}; got an array of {ndim} axes")


def per_axis(name: str, value: Any, axes: int) -> tuple[Any, ...]:
    """Repeat a single setting for each spatial axis, or check that a tuple has one for each.

    >>> per_axis("stride", 2, 3)
    (2, 2, 2)
    >>> per_axis("stride", (1, 2), 2)
    (1, 2)
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) == 1 and axes > 1:
            return tuple(value) * axes
        if len(value) != axes:
            raise ValueError(f"{name} must be one number or {axes} of them; got {value!r}")
        return tuple(value)
    return (value,) * axes
