"""Where modules and parameters hide from a description: values that funcnet does not walk into.

Found once, when a description is walked, so that nobody trains a model of which a part was left out.
"""

import functools
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from funcnet.module.specs import is_spec

__all__ = ["class_attributes", "hiding_place"]

_PLAIN = (str, bytes, int, float, complex, type(None), type, types.ModuleType, types.FunctionType,
          types.BuiltinFunctionType, types.MethodType, range, slice)  # fmt: skip

DEPTH = 5
"""How many objects deep to look: deep enough for a config in a namespace in a deque."""


def hiding_place(value: Any) -> str | None:
    """Say where in a value a module or a declared array hides; None if nowhere.

    Args:
        value: neither a module, a declared array, a list, a tuple nor a dict.

    Returns:
        The end of a sentence that begins with the value's path.

    >>> from collections import deque
    >>> from funcnet.module.hidden import hiding_place
    >>> hiding_place(deque([nn.Linear(1, 1)]))
    ' is a deque that holds a Linear'
    """
    held = _held(value, set(), DEPTH)
    if held is None:
        return None
    order = " (a set has no order and so no names)" if isinstance(value, set | frozenset) else ""
    return f" is a {type(value).__name__}{order} that holds a {type(held).__name__}"


def class_attributes(cls: type, attributes: Any) -> Iterator[tuple[str, str]]:
    """List the modules and declared arrays that are attributes of a class and not of the instance."""
    for base in cls.__mro__:
        for name, value in vars(base).items():
            if name not in attributes and _declares(value):
                yield name, type(value).__name__


def _declares(value: Any) -> bool:
    return is_spec(value) or getattr(type(value), "_is_funcnet_module", False)


def _held(value: Any, seen: set[int], depth: int) -> Any:
    """Return a module or declared array that a value holds."""
    if isinstance(value, _PLAIN) or depth == 0 or id(value) in seen:
        return None
    seen.add(id(value))
    for part in _contents(value):
        found = part if _declares(part) else _held(part, seen, depth - 1)
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
