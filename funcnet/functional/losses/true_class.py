"""The loss of each sample's true class, whose gradient is written down: softmax minus target."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from funcnet.core.aliases import Array

__all__ = ["true_class_losses"]


@jax.custom_jvp
def true_class_losses(
    logits: Array, index: Array, counts: Array, weight: Array, classes: Array
) -> Array:
    """Return ``-w log softmax(x)[y]`` of each sample, and zero where it does not count.

    The gradient is one pass over the logits, which depends on nothing but two numbers a sample.

    Args:
        logits: ``(N, C, *)``, in 32 bits at least.
        index: true classes ``(N, *)``; one that names no class costs NaN.
        counts: mask ``(N, *)``.
        weight: of each sample, ``(N, *)``; zero where it does not count.
        classes: ``jnp.arange(C)``; inside of a loop a constant as large as the logits would be made before it.

    Example:
        >>> from funcnet.functional.losses.true_class import true_class_losses
        >>> weight, classes = jnp.array([0.0, 1.0]), jnp.arange(3)
        >>> losses = true_class_losses(jnp.zeros((2, 3)), jnp.array([-1, 1]), weight > 0, weight, classes)
        >>> [round(loss, 3) for loss in losses.tolist()]
        [0.0, 1.099]
    """
    shifted, total = _normalized(logits)
    return weight * _unweighted(shifted, total, index, counts)


@partial(true_class_losses.defjvp, symbolic_zeros=True)
def _true_class_losses_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    logits, index, counts, weight, classes = primals
    logits_dot, _, _, weight_dot, _ = tangents
    shifted, total = _normalized(logits)
    loss = _unweighted(shifted, total, index, counts)
    tangent = jnp.zeros_like(loss)
    if not isinstance(logits_dot, SymbolicZero):
        chosen = classes.reshape(-1, *(1 for _ in logits.shape[2:])) == jnp.expand_dims(index, 1)
        softmax = jnp.exp(shifted) / jnp.expand_dims(total, 1)
        slope = jnp.expand_dims(weight, 1) * (softmax - chosen.astype(softmax.dtype))
        tangent = tangent + jnp.sum(slope * logits_dot, 1)
    if not isinstance(weight_dot, SymbolicZero):
        tangent = tangent + weight_dot * loss
    return weight * loss, tangent


def _normalized(logits: Array) -> tuple[Array, Array]:
    """Measure logits from the largest of a sample; return them and the sum of their exponentials."""
    largest = lax.stop_gradient(jnp.max(logits, 1, keepdims=True))
    shifted = logits - jnp.where(jnp.isfinite(largest), largest, 0)
    return shifted, jnp.sum(jnp.exp(shifted), 1)


def _unweighted(shifted: Array, total: Array, index: Array, counts: Array) -> Array:
    true = jnp.take_along_axis(shifted, jnp.expand_dims(index, 1), 1, mode="clip")
    known = (index >= 0) & (index < shifted.shape[1])
    true = jnp.where(known, jnp.squeeze(true, 1), jnp.full((), jnp.nan, shifted.dtype))
    return jnp.where(counts, jnp.log(total) - true, 0)
