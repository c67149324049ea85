"""The Laplacian: the sum of second derivatives, one direction after another."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.transforms.arguments import pick, replace, wraps
from funcnet.transforms.derivatives.jvp import jvp
from funcnet.transforms.loops.vmap import vmap
from funcnet.transforms.tree_vectors import as_vector

__all__ = ["laplacian"]


def laplacian(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, *, chunk_size: int | None = None
) -> Callable[..., Any]:
    r"""Turn ``fun`` into a function that returns its Laplacian.

    .. math:: \Delta f(x) = \sum_j \frac{\partial^2 f}{\partial x_j^2}(x)

    Forward over forward: no backward pass and no Hessian, so the memory is that of ``fun`` times
    the number of directions in a chunk.

    Args:
        fun: a function of real arrays; each of its outputs has a Laplacian of its own.
        argnums: the positional argument, or arguments, whose elements are summed over.
        chunk_size: directions to hold in memory at once; all of them when ``None``.

    Returns:
        A function of the same arguments that returns the Laplacian, with the output's structure.

    >>> float(transforms.laplacian(lambda x: (x**3).sum())(jnp.array([1.0, 2.0])))
    18.0
    """

    @wraps(fun)
    def summed(*args: Any, **kwargs: Any) -> Any:
        vector, as_tree = as_vector(pick(args, argnums))
        chosen = pick(args, argnums)

        def of_chosen(chosen: PyTree) -> Any:
            return fun(*replace(args, argnums, chosen), **kwargs)

        def second(index: Array) -> Any:
            unit = (jnp.arange(vector.size) == index).astype(vector.dtype)
            along = as_tree(unit)
            slope = lambda chosen: jvp(of_chosen, (chosen,), (along,))[1]  # noqa: E731
            return jvp(slope, (chosen,), (along,))[1]

        each = vmap(second, chunk_size=chunk_size)(jnp.arange(vector.size))
        return jax.tree.map(lambda column: column.sum(0), each)

    return summed
