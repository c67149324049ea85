"""A copy of a description in which some modules are others."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from funcnet.module import Module
from funcnet.module.description import holds_arrays, is_module, parts
from funcnet.module.specs import is_spec

__all__ = ["replace_modules"]

ModuleT = TypeVar("ModuleT", bound=Module)


def replace_modules(model: ModuleT, replace: Callable[[Module, Module], Module]) -> ModuleT:
    """Copy a description, giving each module the chance to become another; the original stays.

    Declared arrays and static values are shared with the original, and what was shared within it is
    shared within the copy.

    Args:
        model: a description.
        replace: ``(module, copy) -> module``, called once for each module, after its parts.

    Returns:
        The copy, or what ``replace`` makes of it.

    Example:
        >>> from funcnet.nn.wrappers.replace_modules import replace_modules
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
        >>> replace_modules(model, lambda old, new: nn.Tanh() if isinstance(old, nn.ReLU) else new)[1]
        Tanh()
    """
    return _copied(model, replace, {})


def _copied(value: Any, replace: Callable[[Module, Module], Module], made: dict[int, Any]) -> Any:
    if is_spec(value) or not holds_arrays(value):
        return value
    if id(value) in made:
        return made[id(value)]
    items = [(name, _copied(part, replace, made)) for name, part in parts(value)]
    if is_module(value):
        new = object.__new__(type(value))
        vars(new).update(items)
        new = replace(value, new)
    elif isinstance(value, tuple):
        values = [item for _, item in items]
        new = value._make(values) if hasattr(value, "_make") else tuple(values)  # pyright: ignore
    else:
        new = copy.copy(value)
        for place, (name, item) in enumerate(items):
            new[place if isinstance(value, list) else name] = item
    made[id(value)] = new
    return new
