"""A loss scale that adapts, for gradients in float16."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_positive
from funcnet.core.dtypes import at_least_float32
from funcnet.optim.leaf_rule import counted, jax_leaf, map_moved, on_values, require_state, whole
from funcnet.optim.protocol import (
    GradientTransformation,
    of_same_kind,
    require_optimizer,
    with_extra,
)
from funcnet.optim.settings import if_known
from funcnet.optim.wrappers.finite import all_finite, step_if

__all__ = ["LossScaleState", "loss_scale", "scale_loss"]


class LossScaleState(NamedTuple):
    """State of `loss_scale`: the scale, good steps since it changed, steps skipped, the inner.

    Example:
        >>> state = optim.loss_scale(optim.sgd(1.0), init_scale=8.0).init(jnp.ones(1))
        >>> state._fields, float(state.scale)
        (('scale', 'good_steps', 'skipped', 'inner'), 8.0)
    """

    scale: Array
    good_steps: Array
    skipped: Array
    inner: PyTree


def loss_scale(
    optimizer: GradientTransformation,
    init_scale: float = 65536.0,
    growth_factor: float = 2.0,
    backoff_factor: float = 0.5,
    growth_interval: int = 2000,
) -> GradientTransformation:
    """Undo the scale of a scaled loss, skip steps that overflowed, and adapt the scale.

    Multiply the loss with `scale_loss` before differentiating it; the rest happens here. After an
    overflow the scale shrinks; after ``growth_interval`` good steps it grows, both between
    :math:`2^{-24}` and :math:`2^{100}`. Steps that are not finite are skipped at every scale.

    Args:
        optimizer: the optimizer inside; it sees unscaled gradients.
        init_scale: the first scale.
        growth_factor: what it grows by.
        backoff_factor: what it shrinks by.
        growth_interval: how many good steps make it grow.

    Returns:
        An optimizer with a `LossScaleState`.

    Raises:
        ValueError: a number that is not positive and finite.

    Example:
        >>> optimizer = optim.loss_scale(optim.sgd(1.0), init_scale=8.0)
        >>> params = jnp.array([1.0])
        >>> state = optimizer.init(params)
        >>> grads = jax.grad(lambda p: optim.scale_loss(state, (3 * p).sum()))(params)
        >>> optimizer.update(grads, state)[0].tolist()
        [-3.0]

    Reference: Micikevicius et al., "Mixed Precision Training", ICLR 2018; ``torch.amp.GradScaler``
    """
    for name, value in (
        ("init_scale", init_scale),
        ("growth_factor", growth_factor),
        ("backoff_factor", backoff_factor),
    ):
        if_known(_check_scale, name, value)
    growth_interval = whole("growth_interval", growth_interval)
    require_optimizer("loss_scale", optimizer)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> LossScaleState:
        scale, zero = jnp.asarray(init_scale, jnp.float32), jnp.zeros((), jnp.int32)
        scale = jnp.clip(scale, SMALLEST, LARGEST)
        return LossScaleState(scale, zero, zero.copy(), optimizer.init(params))

    def update(
        grads: PyTree, state: LossScaleState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, LossScaleState]:
        require_state("loss_scale", state, LossScaleState)
        unscaled, good = unscale_gradients(state, grads)
        updates, inner = inner_update(unscaled, state.inner, params, **extra)
        updates, inner = step_if(good, updates, inner, state.inner)
        state = adapt_scale(state, good, growth_factor, backoff_factor, growth_interval)
        return updates, state._replace(inner=inner)

    return of_same_kind(optimizer, init, update)


SMALLEST, LARGEST = 2.0**-24, 2.0**100
"""The bounds of a loss scale.

The scale and one over it are ordinary float32 numbers with room for a loss of any size that float32 training
meets: past the bounds lie infinity, which the scale would never leave, and zero, which lets NaN through. Below
the smallest the gradients of a float16 step are themselves zero or infinite, whatever the scale.
"""


def unscale_gradients(state: LossScaleState, grads: PyTree) -> tuple[PyTree, Array]:
    """Divide gradients by a scale, in float32 at least; say whether all were finite.

    Example:
        >>> from funcnet.optim.wrappers.loss_scale import unscale_gradients
        >>> state = optim.loss_scale(optim.sgd(1.0), init_scale=8.0).init(jnp.ones(1))
        >>> grads, good = unscale_gradients(state, jnp.full(1, 16.0))
        >>> grads.tolist(), bool(good)
        ([2.0], True)
    """
    inverse = 1 / state.scale

    def unscale(g: Array) -> Array:
        wide = at_least_float32(g.dtype)
        return g.astype(wide) * inverse.astype(wide)

    return map_moved(on_values(unscale), grads), all_finite(grads)


def adapt_scale(
    state: LossScaleState, good: Array, growth: Any, backoff: Any, interval: Any
) -> LossScaleState:
    """Return the scale for the next step.

    Args:
        state: before the step.
        good: whether its gradients were finite.
        growth: what the scale grows by.
        backoff: what it shrinks by.
        interval: how many good steps make it grow.

    Example:
        >>> from funcnet.optim.wrappers.loss_scale import adapt_scale
        >>> state = optim.loss_scale(optim.sgd(1.0), init_scale=8.0).init(jnp.ones(1))
        >>> float(adapt_scale(state, jnp.array(False), 2.0, 0.5, 2000).scale)
        4.0
    """
    count = counted(state.good_steps) * good.astype(jnp.int32)
    grow = count >= interval
    factor = jnp.where(good, jnp.where(grow, growth, 1.0), backoff)
    skipped = jnp.where(good, state.skipped, counted(state.skipped))
    scale = jnp.clip(state.scale * factor.astype(jnp.float32), SMALLEST, LARGEST)
    return LossScaleState(scale, jnp.where(grow, 0, count), skipped, state.inner)


def _check_scale(name: str, value: float) -> None:
    check_positive(name, value)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value!r}")


def scale_loss(state: LossScaleState, loss: Array) -> Array:
    """Multiply a loss by the current scale of `loss_scale`, in float32 at least: ``scale * loss``.

    Example:
        >>> state = optim.loss_scale(optim.sgd(1.0), init_scale=8.0).init(jnp.ones(1))
        >>> float(optim.scale_loss(state, jnp.float16(2.0)))
        16.0
    """
    loss = jax_leaf(loss)
    wide = at_least_float32(loss.dtype)
    return loss.astype(wide) * state.scale.astype(wide)
