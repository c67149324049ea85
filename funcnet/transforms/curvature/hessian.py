"""The whole matrix of second derivatives."""

from collections.abc import Callable, Sequence
from typing import Any

from funcnet.transforms.derivatives.jacobians import jacfwd, jacrev

__all__ = ["hessian"]


def hessian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    r"""Turn ``fun`` into a function that returns its matrix of second derivatives.

    .. math:: H_{ij} = \frac{\partial^2 f}{\partial x_i\, \partial x_j}

    As `jax.hessian`, forward over reverse: the argument's structure appears twice, once inside the
    other. For a product with one vector, `hvp` needs no matrix.

    Args:
        fun: any function of arrays, most often a scalar one.
        argnums: the positional argument, or arguments, to differentiate.
        has_aux: whether ``fun`` returns ``(output, aux)``; ``aux`` is passed through.
        holomorphic: whether ``fun`` is a holomorphic function of complex leaves.
        chunk_size: columns to hold in memory at once; all of them when ``None``.

    Returns:
        A function of the same arguments that returns the Hessian, or ``(hessian, aux)``.

    >>> transforms.hessian(lambda x: x[0] ** 2 * x[1])(jnp.array([1.0, 2.0])).tolist()
    [[4.0, 2.0], [2.0, 0.0]]
    """
    inner = jacrev(fun, argnums, has_aux, holomorphic, chunk_size=chunk_size)
    return jacfwd(inner, argnums, has_aux, holomorphic, chunk_size=chunk_size)
