"""Find what names in backticks stand for, as users write them, and link those that have a page."""

import importlib
import inspect
import re
from functools import cache
from typing import Any

from docs.generation.names import public_names

__all__ = ["PREFIXES", "linked", "resolve"]

PREFIXES = {
    "fn": "funcnet",
    "F": "funcnet.functional",
    "nn": "funcnet.nn",
    "optim": "funcnet.optim",
    "schedules": "funcnet.optim.schedules",
    "data": "funcnet.data",
    "training": "funcnet.training",
    "metrics": "funcnet.training.metrics",
    "checkpoint": "funcnet.checkpoint",
    "parallel": "funcnet.parallel",
    "compression": "funcnet.compression",
    "export": "funcnet.export",
    "jax": "jax",
    "jnp": "jax.numpy",
}
"""How a namespace is written on these pages."""

DOTTED = re.compile(rf"^(?:{'|'.join(PREFIXES)})(?:\.\w+)+")
CODE = re.compile(r"(?<![`}])`([^`\n]+)`(?!`)")


def resolve(code: str) -> Any:
    """Find the object that code begins with: ``nn.Linear(2, 3)`` is `funcnet.nn.Linear`.

    Returns:
        The object; None of code that begins with no known namespace.

    Raises:
        AttributeError: the namespace has no such name.
    """
    match = DOTTED.match(code)
    if not match:
        return None
    first, *parts = match[0].split(".")
    path = PREFIXES[first]
    value = importlib.import_module(path)
    for part in parts:
        path = f"{path}.{part}"
        if not hasattr(value, part):
            try:
                importlib.import_module(path)
            except ModuleNotFoundError:
                raise AttributeError(f"{code!r}: there is no {path}") from None
        value = getattr(value, part)
    return value


@cache
def _places() -> dict[int, str]:
    return {
        id(name.value): name.path
        for name in public_names()
        if inspect.isclass(name.value) or inspect.isfunction(name.value)
    }


def linked(text: str) -> str:
    """Turn each name of funcnet in backticks in a table into a link; give tables the class ``names``."""
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith("|") != inside:
            inside = not inside
            lines += ["```{table}", ":class: names", ""] if inside else ["```"]
        lines.append(CODE.sub(_link, line) if line.startswith("| `") else line)
    return "\n".join([*lines, *(["```"] if inside else [])]) + "\n"


def _link(match: re.Match[str]) -> str:
    value = resolve(match[1])
    path = None if value is None else _places().get(id(value))
    return f"{{py:obj}}`{match[1]} <{path}>`" if path else match[0]
