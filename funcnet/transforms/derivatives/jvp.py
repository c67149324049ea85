"""Derivatives along directions: ``J v`` forwards, and ``w J`` backwards."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import PyTree
from funcnet.transforms.differentiable_leaves import Pattern, split

__all__ = ["jvp", "linearize", "vjp"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearMap:
    """A linear function between trees with constants, around JAX's between lists of arrays.

    A pytree, as what `jax.vjp` returns is: it goes into and comes out of jitted functions.
    """

    between_lists: Callable[..., Any]
    source: Pattern
    target: Pattern

    def __call__(self, *vectors: PyTree) -> PyTree:
        """Apply the map; what stands in place of a constant is ignored, and zeros come back."""
        image = self.between_lists(take(self.source, vectors))
        if isinstance(image, tuple):  # a pullback answers with one entry an argument
            (image,) = image
        return self.target.fill(image)


def take(pattern: Pattern, vectors: PyTree) -> list[Any]:
    """List the directions of the moving leaves, or say which structure they should have."""
    try:
        directions = pattern.take(vectors)
    except ValueError as error:
        raise TypeError(
            "the direction must have the structure of what it moves: expected "
            f"{pattern.treedef}, got {jax.tree.structure(vectors)}"
        ) from error
    # JAX 0.10 keeps a NumPy tangent as it is and stumbles over it in the gradient of a scan
    return [jnp.asarray(v) if isinstance(v, np.ndarray) else v for v in directions]


def flattened(
    fun: Callable[..., Any], pattern: Pattern, constants: list[Any], has_aux: bool, single: bool
) -> Callable[[list[Any]], Any]:
    """Return ``fun`` from list of moving leaves to list of moving leaves, the rest beside.

    The rest is the output's pattern, its constants, and ``fun``'s own ``aux``. With ``single`` the
    output's pattern is that of the one-tuple of the output: a pullback's only argument.
    """

    def of_moving(moving: list[Any]) -> tuple[list[Any], Any]:
        output = fun(*pattern.join(moving, constants))
        output, aux = output if has_aux else (output, None)
        target, moved, rest = split((output,) if single else output)
        return moved, (target, rest, aux)

    return of_moving


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
