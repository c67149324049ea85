"""The noisy mean of clipped gradients: a step of differentially private training."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, PyTree
from funcnet.core.checks import check_non_negative
from funcnet.core.keys import is_key
from funcnet.core.leaf_kinds import is_trainable
from funcnet.transforms.per_example.clipped_grad import clipped_grad

__all__ = ["private_grad"]


def private_grad(
    loss: Callable[..., Any],
    max_norm: float,
    noise_multiplier: float,
    *,
    chunk_size: int | None = None,
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
        if not is_key(key):
            raise TypeError(
                "a private gradient takes a random key first, for its noise, such as jax.random.key(0), then the "
                f"parameters and the batch; got {type(key).__name__}"
            )
        total, norms = clipped(params, *batch)
        leaves, treedef = jax.tree.flatten(total)
        deviation = noise_multiplier * max_norm

        def noisy(leaf: Any, key: Key) -> Any:
            if not is_trainable(leaf):
                return leaf
            noise = jax.random.normal(key, leaf.shape, leaf.dtype)
            return (leaf + jnp.asarray(deviation, leaf.dtype) * noise) / norms.shape[0]

        keys = jax.random.split(key, len(leaves))
        return treedef.unflatten(list(map(noisy, leaves, keys))), norms

    return of_batch
