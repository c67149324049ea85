"""The empirical neural tangent kernel, computed without forming Jacobians."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice
from funcnet.transforms.derivatives.jvp import linearize
from funcnet.transforms.derivatives.vjp import vjp
from funcnet.transforms.loops.vmap import vmap

__all__ = ["ntk"]


def ntk(
    fun: Callable[[PyTree, PyTree], Array],
    params: PyTree,
    x1: PyTree,
    x2: PyTree | None = None,
    *,
    outputs: str = "full",
    chunk_size: int = 1,
) -> Array:
    r"""Return the empirical neural tangent kernel between two batches.

    .. math:: \Theta_{ij} = J(x_i)\, J(x'_j)^\top, \qquad J(x) = \partial_\theta f(\theta, x)

    For each example of the second batch and each output, one product with a transposed Jacobian,
    pushed through the linearised function on the first batch: memory for ``chunk_size`` times
    as many gradients as there are outputs, whatever the number of examples.

    Args:
        fun: ``fun(params, x) -> y`` for one example, ``y`` an array of ``k`` elements.
        params: any tree; integer leaves are constants.
        x1: examples on a leading axis of length ``n1``.
        x2: examples on a leading axis of length ``n2``; ``x1`` when ``None``.
        outputs: ``"full"`` for a ``k × k`` block a pair, ``"trace"`` for its trace.
        chunk_size: examples of the second batch to work on at once.

    Returns:
        The kernel, of shape ``(n1, n2, k, k)``, or ``(n1, n2)`` for ``"trace"``.

    >>> kernel = transforms.ntk(lambda w, x: w * x, jnp.array([2.0]), jnp.array([1.0, 3.0]))
    >>> kernel[:, :, 0, 0].tolist()
    [[1.0, 3.0], [3.0, 9.0]]

    References: Jacot, Gabriel & Hongler, 2018, "Neural tangent kernel"; Novak, Sohl-Dickstein &
    Schoenholz, 2022, "Fast finite width neural tangent kernel".
    """
    check_choice("outputs", outputs, ("full", "trace"))
    others = x1 if x2 is None else x2

    def rows(params: PyTree) -> Array:
        values = jax.vmap(fun, (None, 0))(params, x1)
        return values.reshape(values.shape[0], -1)

    values, push = linearize(rows, params)
    units = jnp.eye(values.shape[1], dtype=values.dtype)

    def against(other: PyTree) -> Array:
        _, pull = vjp(lambda params: fun(params, other).reshape(-1), params)
        columns = jax.vmap(lambda unit: push(*pull(unit)), out_axes=-1)(units)
        return columns if outputs == "full" else jnp.trace(columns, axis1=-2, axis2=-1)

    return vmap(against, out_axes=1, chunk_size=chunk_size)(others)
