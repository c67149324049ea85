"""Marked computations: a call of a known name around a few operations, which exporters find again.

Why: "round to 8 bits" is a division, a rounding, a sum and a clip by the time a program is read, and nothing says
that they belong together. A function under `jax.jit` keeps its name in the program, costs nothing in a compiled one,
and follows every transform: what a transform changes has another name or another number of axes, is no mark any
more, and is read operation by operation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from funcnet.core.jax_internals.programs import Operation

__all__ = ["Mark", "mark_of", "marked"]

_PREFIX = "funcnet_mark"


class Mark(NamedTuple):
    """What a marked call says of itself."""

    kind: str
    settings: dict[str, int]


def marked(
    fun: Callable[..., Any], kind: str, *, ndim: int, **settings: int | None
) -> Callable[..., Any]:
    """Compile a function of arrays under a name that `mark_of` reads.

    Args:
        fun: of arrays alone; the first has ``ndim`` axes.
        kind: words joined by single underscores.
        ndim: the number of axes of the first argument; with another number the call is no mark.
        **settings: whole numbers that are not negative, names of a single word; None is left out.

    >>> from funcnet.core.marks import mark_of, marked
    >>> from funcnet.core.jax_internals.programs import trace
    >>> twice = marked(lambda x: 2 * x, "two_times", ndim=1, axis=0)
    >>> program, _ = trace(lambda x: twice(x) + 1, jnp.ones(3))
    >>> [mark_of(each) for each in program.operations]
    [Mark(kind='two_times', settings={'axis': 0}), None]
    """
    pairs = {"ndim": ndim} | {k: v for k, v in settings.items() if v is not None}

    def call(*arrays: Any) -> Any:
        return fun(*arrays)

    call.__name__ = "__".join([_PREFIX, kind, *(f"{k}_{v}" for k, v in pairs.items())])
    return jax.jit(call)


def mark_of(operation: Operation) -> Mark | None:
    """Return what a marked call says; None for any other operation, and for one that a transform has changed."""
    name = operation.called_name
    if not name.startswith(f"{_PREFIX}__"):
        return None
    _, kind, *pairs = name.split("__")
    settings = {k: int(v) for k, _, v in (pair.rpartition("_") for pair in pairs)}
    if settings.pop("ndim") != len(operation.operands[0].shape):
        return None
    return Mark(kind, settings)
