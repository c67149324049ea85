"""The norm of every example's gradient, computed without most of the gradients."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.transforms.arguments import wraps
from funcnet.transforms.loops.vmap import vmap
from funcnet.transforms.per_example.weight_products import squared_norms

__all__ = ["per_example_norms"]


def per_example_norms(
    loss: Callable[..., Any], *, chunk_size: int | None = None
) -> Callable[..., Array]:
    r"""Turn a loss of one example into a function that returns every example's gradient norm.

    A weight that is used once, in a matrix product with activations ``a`` (positions × inputs) of
    which the gradient is ``d`` (positions × outputs), has the gradient ``dᵀa``, whose norm follows
    from the positions' inner products, without forming it:

    .. math:: \lVert d^\top a\rVert_F^2 = \sum_{s,t} (a_s \cdot a_t)\,(d_s \cdot d_t)

    So it is done where that is cheaper: for linear layers on vectors always, on sequences while they
    are short against the weight. Other parameters' gradients are formed, one chunk at a time.

    Args:
        loss: ``loss(params, *example) -> scalar`` for one example; any function, because
            it is the trace that is read.
        chunk_size: examples to hold in memory at once.

    Returns:
        ``f(params, *batch) -> norms``, where every leaf of the batch has a leading axis of
        examples.

    >>> norms = transforms.per_example_norms(lambda w, x: (w @ x).sum())
    >>> [f"{norm:.3f}" for norm in norms(jnp.ones((2, 2)), jnp.array([[3.0, 4.0], [0.0, 1.0]]))]
    ['7.071', '1.414']

    Reference: Goodfellow, 2015, "Efficient per-example gradient computations"; Li et al., 2022,
    "Large language models can be strong differentially private learners".
    """

    @wraps(loss)
    def of_batch(params: PyTree, *batch: Any) -> Array:
        one = lambda *example: squared_norms(loss, params, example)  # noqa: E731
        return jnp.sqrt(vmap(one, chunk_size=chunk_size)(*batch))

    return of_batch
