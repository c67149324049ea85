"""Positional arguments by number: pick those to differentiate, or replace them."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnet.core.paths import join

__all__ = ["argument_path", "pick", "positions", "replace", "wraps"]


def wraps(fun: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Carry name, documentation and signature over, without the attributes of a callable object."""
    return functools.wraps(fun, updated=())


def positions(argnums: int | Sequence[int], args: Sequence[Any]) -> tuple[int, ...]:
    """Check argument numbers against a call, and count negative ones from its end.

    Raises:
        TypeError: there are fewer positional arguments than the numbers ask for, or they are no numbers.
        ValueError: two of them are of one argument.
    """
    numbers: tuple[Any, ...] = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for number in numbers:
        if not isinstance(number, int | np.integer):
            raise TypeError(
                f"argnums are positions of arguments, as argnums=(0, 1); got {argnums!r}: of one that is passed by "
                "name, write a function that takes it first, lambda name, *args: fun(*args, name=name)"
            )
        if not -len(args) <= number < len(args):
            raise TypeError(
                f"argnums={argnums!r} asks for positional argument {number}, but the call has "
                f"{len(args)}; arguments to differentiate must not be passed by name"
            )
    found = tuple(number % len(args) for number in numbers)
    if len({*found}) < len(found):
        raise ValueError(f"argnums={argnums!r} names an argument twice: it has one derivative")
    return found


def pick(args: Sequence[Any], argnums: int | Sequence[int]) -> Any:
    """Return the argument of that number, or a tuple of those of several numbers."""
    numbers = positions(argnums, args)
    if isinstance(argnums, int):
        return args[numbers[0]]
    return tuple(args[number] for number in numbers)


def replace(args: Sequence[Any], argnums: int | Sequence[int], new: Any) -> list[Any]:
    """Return the arguments with what `pick` returned replaced."""
    numbers = positions(argnums, args)
    replaced = list(args)
    for number, value in zip(numbers, (new,) if isinstance(argnums, int) else new, strict=True):
        replaced[number] = value
    return replaced


def argument_path(fun: Callable[..., Any], path: str) -> str:
    """Turn the path of a leaf of the positional arguments into one that begins with a name."""
    number, _, rest = path.partition(".")
    names = list(inspect.signature(fun).parameters) or ["argument"]
    return join(names[min(int(number), len(names) - 1)], rest)
