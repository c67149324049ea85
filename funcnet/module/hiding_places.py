"""Where something hides: in objects that nobody walks into, such as a deque, a partial or a namespace.

A description is searched once, when it is read, so that nobody trains a model of which a part was left out.
"""

import functools
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

__all__ = ["class_attributes", "hiding_place"]

_PLAIN = (str, bytes, int, float, complex, type(None), type, types.ModuleType, types.FunctionType,
          types.BuiltinFunctionType, types.MethodType, range, slice)  # fmt: skip

DEPTH = 5
"""How many objects deep to look: deep enough for a config in a namespace in a deque."""


def hiding_place(value: Any, sought: Callable[[Any], bool]) -> str | None:
    """Say where in a value something hides; None if nowhere.

    Args:
        value: anything.
        sought: tells whether an object is what is looked for.

    Returns:
        The end of a sentence that begins with the value's name.

    >>> from collections import deque
    >>> hiding_place(deque([1, "a"]), lambda part: isinstance(part, str))
    ' is a deque that holds a str'
    """
    held = _held(value, sought, set(), DEPTH)
    if held is None:
        return None
    order = " (a set has no order and so no names)" if isinstance(value, set | frozenset) else ""
    return f" is a {type(value).__name__}{order} that holds a {type(held).__name__}"


def class_attributes(
    cls: type, own: Any, sought: Callable[[Any], bool]
) -> Iterator[tuple[str, str]]:
    """List what is sought among the attributes of a class that an instance does not have as its own."""
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if name not in own and sought(value):
                yield name, type(value).__name__


def _held(value: Any, sought: Callable[[Any], bool], seen: set[int], depth: int) -> Any:
    """Return the first object within a value that is sought."""
    if isinstance(value, _PLAIN) or depth == 0 or id(value) in seen:
        return None
    seen.add(id(value))
    for part in _contents(value):
        found = part if sought(part) else _held(part, sought, seen, depth - 1)
        if found is not None:
            return found
    return None


def _contents(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | set | frozenset | deque):
        yield from value
    elif isinstance(value, np.ndarray):
        if value.dtype == object:
            yield from value.flat
    elif isinstance(value, functools.partial):
        yield value.func
        yield from value.args
        yield from value.keywords.values()
    elif isinstance(value, dict | types.MappingProxyType):
        yield from value.values()
    elif not type(value).__module__.startswith(("jax", "numpy", "funcnet")):
        # objects of the user's own: namespaces, dataclasses, helpers
        yield from getattr(value, "__dict__", {}).values()
        for base in type(value).__mro__:
            slots = vars(base).get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, slot):
                    yield getattr(value, slot)
