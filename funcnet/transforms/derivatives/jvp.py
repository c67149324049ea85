"""Forward derivatives: products ``J v`` of a Jacobian and a direction."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from funcnet.transforms.derivatives.linear_map import LinearMap, flattened, take
from funcnet.transforms.differentiable_leaves import split

__all__ = ["jvp", "linearize"]


def jvp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
) -> tuple[Any, ...]:
    r"""Return ``fun``'s value and its derivative along a direction, in one forward pass.

    .. math:: (x, v) \mapsto \left(f(x),\ \partial f(x)\, v\right)

    As `jax.jvp`, on any tree: what is given as the tangent of an integer, boolean or key leaf is
    ignored, and the tangent of such a leaf of the output is zeros of its own shape and type.

    Args:
        fun: any function of arrays.
        primals: the arguments, a tuple or list.
        tangents: the direction, with the structure of ``primals``.
        has_aux: whether ``fun`` returns ``(output, aux)``; ``aux`` is passed through.

    Returns:
        ``(output, tangent)``, or ``(output, tangent, aux)``.

    Raises:
        TypeError: the tangents' structure, shapes or types do not fit the primals'.

    >>> value, slope = transforms.jvp(lambda x: x["a"] ** x["n"], ({"a": 3.0, "n": 2},),
    ...                               ({"a": 1.0, "n": None},))
    >>> float(value), float(slope)
    (9.0, 6.0)
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TypeError(
            "primals and tangents must be tuples or lists, one entry an argument; got "
            f"{type(primals).__name__} and {type(tangents).__name__}: for one argument write (x,) and (v,)"
        )
    pattern, moving, constants = split(tuple(primals))
    directions = take(pattern, tuple(tangents))
    of_moving = flattened(fun, pattern, constants, has_aux, single=False)
    moved, slopes, (target, rest, aux) = jax.jvp(of_moving, (moving,), (directions,), has_aux=True)
    output, tangent = target.join(moved, rest), target.fill(slopes)
    return (output, tangent, aux) if has_aux else (output, tangent)


def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    r"""Return ``fun``'s value and its derivative at a point as a linear function.

    .. math:: x \mapsto \left(f(x),\ v \mapsto \partial f(x)\, v\right)

    As `jax.linearize`: the function's own work is done once, then each product is cheap. Integer,
    boolean and key leaves are constants, as in `jvp`.

    Args:
        fun: any function of arrays.
        *primals: its arguments.
        has_aux: whether ``fun`` returns ``(output, aux)``; ``aux`` is passed through.

    Returns:
        ``(output, pushforward)``, or ``(output, pushforward, aux)``; ``pushforward(*tangents)``
        gives the output's tangent.

    >>> value, pushforward = transforms.linearize(jnp.sin, 0.0)
    >>> float(value), float(pushforward(2.0))
    (0.0, 2.0)
    """
    pattern, moving, constants = split(primals)
    of_moving = flattened(fun, pattern, constants, has_aux, single=False)
    moved, linear, (target, rest, aux) = jax.linearize(of_moving, moving, has_aux=True)
    output = target.join(moved, rest)
    pushforward = LinearMap(linear, pattern, target)
    return (output, pushforward, aux) if has_aux else (output, pushforward)
