"""Loops that compile once, whatever their length."""

from collections.abc import Callable
from typing import Any

import jax

__all__ = ["scan"]


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """Carry a value through a loop over the leading axis of ``xs``, as `jax.lax.scan`.

    Args:
        f: ``f(carry, x) -> (carry, y)``.
        init: the first carry, any pytree.
        xs: arrays with a leading axis to loop over, or ``None``.
        length: the number of steps, needed when ``xs`` has no leaves.
        reverse: go from the last to the first.
        unroll: how many steps to put into one turn of the compiled loop.

    Returns:
        The last carry, and the ``y`` of all steps stacked along a new leading axis.

    >>> total, sums = transforms.scan(lambda c, x: (c + x, c + x), 0.0, jnp.arange(4.0))
    >>> float(total), sums.tolist()
    (6.0, [0.0, 1.0, 3.0, 6.0])
    """
    return jax.lax.scan(f, init, xs, length=length, reverse=reverse, unroll=unroll)
