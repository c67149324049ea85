"""Backward derivatives: products ``w J`` of a cotangent and a Jacobian."""

from collections.abc import Callable
from typing import Any

import jax

from funcnet.transforms.derivatives.linear_map import LinearMap, flattened
from funcnet.transforms.differentiable_leaves import split

__all__ = ["vjp"]


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    r"""Return ``fun``'s value and the function that pulls cotangents back through it.

    .. math:: x \mapsto \left(f(x),\ w \mapsto w\, \partial f(x)\right)

    As `jax.vjp`: integer, boolean and key leaves are constants. Their cotangents are zeros of their
    own shape and type; what is given as the cotangent of such a leaf of the output is ignored.

    Args:
        fun: any function of arrays.
        *primals: its arguments.
        has_aux: whether ``fun`` returns ``(output, aux)``; ``aux`` is passed through.

    Returns:
        ``(output, pullback)``, or ``(output, pullback, aux)``; ``pullback(cotangent)`` gives a
        tuple, one entry an argument.

    >>> value, pullback = transforms.vjp(lambda x, n: x**n, 3.0, 2)
    >>> [float(entry) for entry in pullback(1.0)]
    [6.0, 0.0]
    """
    pattern, moving, constants = split(primals)
    of_moving = flattened(fun, pattern, constants, has_aux, single=True)
    moved, transposed, (target, rest, aux) = jax.vjp(of_moving, moving, has_aux=True)
    (output,) = target.join(moved, rest)
    pullback = LinearMap(transposed, target, pattern)
    return (output, pullback, aux) if has_aux else (output, pullback)
