"""The sum of all examples' gradients, each clipped to a norm."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_positive
from funcnet.transforms.arguments import wraps
from funcnet.transforms.derivatives.grad import value_and_grad
from funcnet.transforms.loops.vmap import vmap
from funcnet.transforms.per_example.norms import per_example_norms

__all__ = ["clipped_grad"]


def clipped_grad(
    loss: Callable[..., Any], max_norm: float, *, chunk_size: int | None = None
) -> Callable[..., tuple[PyTree, Array]]:
    r"""Turn a loss of one example into the sum of its gradients, each clipped to a norm.

    .. math:: \sum_i g_i\, \min\left(1, \frac{C}{\lVert g_i\rVert}\right)

    Two backward passes over the batch and no gradient of a single example: the first gives the
    norms (`per_example_norms`), the second the gradient of the weighted sum of losses.

    Args:
        loss: ``loss(params, *example) -> scalar`` for one example.
        max_norm: the norm :math:`C` to clip to.
        chunk_size: examples to hold in memory at once.

    Returns:
        ``f(params, *batch) -> (sum of clipped gradients, norms before clipping)``.

    >>> clipped = transforms.clipped_grad(lambda w, x: jnp.vdot(w, x), max_norm=1.0)
    >>> total, norms = clipped(jnp.ones(2), jnp.array([[3.0, 4.0], [0.0, 0.5]]))
    >>> [f"{part:.1f}" for part in total], norms.tolist()
    (['0.6', '1.3'], [5.0, 0.5])
    """
    check_positive("max_norm", max_norm)
    norms_of = per_example_norms(loss, chunk_size=chunk_size)

    @wraps(loss)
    def of_batch(params: PyTree, *batch: Any) -> tuple[PyTree, Array]:
        norms = norms_of(params, *batch)
        scales = jnp.minimum(1, max_norm / jnp.maximum(norms, jnp.finfo(norms.dtype).tiny))
        scales = jax.lax.stop_gradient(scales)
        losses = vmap(lambda params, *example: loss(params, *example), (None, *(0,) * len(batch)))

        def weighted(params: PyTree, batch: Any) -> Array:
            scales, *rest = batch
            values = losses(params, *rest)
            return (values * scales.astype(values.dtype)).sum()

        size = norms.shape[0]
        parts = 1 if chunk_size is None else -(-size // chunk_size)
        while size % parts:
            parts += 1
        accumulate = {} if parts == 1 else {"microbatches": parts, "reduction": "sum"}
        _, total = value_and_grad(weighted, **accumulate)(params, (scales, *batch))
        return total, norms

    return of_batch
