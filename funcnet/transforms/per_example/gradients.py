"""One gradient for each example of a batch, and what private training makes of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, PyTree
from funcnet.core.checks import check_non_negative, check_positive
from funcnet.transforms.arguments import wraps
from funcnet.transforms.derivatives.grad import value_and_grad
from funcnet.transforms.loops.vmap import vmap
from funcnet.transforms.per_example.weight_products import squared_norms

__all__ = ["clipped_grad", "per_example_grad", "per_example_norms", "private_grad"]

Loss = Callable[..., Any]


def per_example_grad(
    loss: Loss, in_axes: Sequence[Any] | int = 0, *, chunk_size: int | None = None, **options: Any
) -> Callable[..., PyTree]:
    """Turn a loss of one example into a function that returns every example's gradient.

    Args:
        loss: ``loss(params, *example) -> scalar`` for one example.
        in_axes: the axis of examples in each argument after the parameters; ``None`` where all
            examples share it.
        chunk_size: examples to hold in memory at once.
        **options: ``has_aux``, ``wrt``, …; see `grad`.

    Returns:
        ``f(params, *batch)``, which returns the gradient with a leading axis of examples.

    >>> gradients = transforms.per_example_grad(lambda w, x: jnp.vdot(w, x) ** 2)
    >>> gradients(jnp.ones(2), jnp.array([[1.0, 0.0], [0.0, 2.0]])).tolist()
    [[2.0, 0.0], [0.0, 8.0]]

    Follows https://docs.pytorch.org/tutorials/intermediate/per_sample_grads.html.
    """
    both = value_and_grad(loss, **options)

    def gradient(*args: Any) -> Any:
        value, derivative = both(*args)
        return (derivative, value[1]) if options.get("has_aux") else derivative

    @wraps(loss)
    def of_batch(params: PyTree, *batch: Any) -> Any:
        axes = (in_axes,) * len(batch) if isinstance(in_axes, int) else tuple(in_axes)
        return vmap(gradient, (None, *axes), chunk_size=chunk_size)(params, *batch)

    return of_batch


def per_example_norms(loss: Loss, *, chunk_size: int | None = None) -> Callable[..., Array]:
    r"""Turn a loss of one example into a function that returns every example's gradient norm.

    A weight that is used once, in a matrix product with activations ``a`` (positions × inputs) of
    which the gradient is ``d`` (positions × outputs), has the gradient ``dᵀa``, whose norm follows
    from the positions' inner products, without forming it:

    .. math:: \lVert d^\top a\rVert_F^2 = \sum_{s,t} (a_s \cdot a_t)\,(d_s \cdot d_t)

    So it is done where that is cheaper: for linear layers on vectors always, on sequences while they
    are short against the weight. Other parameters' gradients are formed, one chunk at a time.

    Args:
        loss: ``loss(params, *example) -> scalar`` for one example; any function, for it is its
            trace that is read.
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


def clipped_grad(
    loss: Loss, max_norm: float, *, chunk_size: int | None = None
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


def private_grad(
    loss: Loss, max_norm: float, noise_multiplier: float, *, chunk_size: int | None = None
) -> Callable[..., tuple[PyTree, Array]]:
    r"""Turn a loss of one example into the noisy mean gradient of differentially private SGD.

    .. math:: \frac1n \left(\sum_i g_i \min\left(1, \frac{C}{\lVert g_i\rVert}\right)
              + \mathcal N(0, \sigma^2 C^2 I)\right)

    The privacy that this buys depends on the sampling of batches and the number of steps; an
    accountant has to work it out. The noise is drawn in the gradients' own precision.

    Args:
        loss: ``loss(params, *example) -> scalar`` for one example.
        max_norm: the norm :math:`C` to clip each example's gradient to.
        noise_multiplier: the noise's standard deviation in units of ``max_norm``.
        chunk_size: examples to hold in memory at once.

    Returns:
        ``f(key, params, *batch) -> (gradient, norms before clipping)``.

    >>> private = transforms.private_grad(lambda w, x: jnp.vdot(w, x), 1.0, noise_multiplier=0.0)
    >>> batch = jnp.array([[3.0, 4.0], [0.0, 0.5]])
    >>> gradient, norms = private(jax.random.key(0), jnp.ones(2), batch)
    >>> [f"{part:.2f}" for part in gradient]
    ['0.30', '0.65']

    Reference: Abadi et al., 2016, "Deep learning with differential privacy".
    """
    check_non_negative("noise_multiplier", noise_multiplier)
    clipped = clipped_grad(loss, max_norm, chunk_size=chunk_size)

    def of_batch(key: Key, params: PyTree, *batch: Any) -> tuple[PyTree, Array]:
        total, norms = clipped(params, *batch)
        leaves, treedef = jax.tree.flatten(total)
        deviation = noise_multiplier * max_norm

        def noisy(leaf: Any, key: Key) -> Any:
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                return leaf
            noise = jax.random.normal(key, leaf.shape, leaf.dtype)
            return (leaf + jnp.asarray(deviation, leaf.dtype) * noise) / norms.shape[0]

        keys = jax.random.split(key, len(leaves))
        return treedef.unflatten(list(map(noisy, leaves, keys))), norms

    return of_batch
