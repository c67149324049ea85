"""Steps whose gradients are not finite, skipped and counted."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.optim.leaf_rule import counted, require_state
from funcnet.optim.protocol import (
    GradientTransformation,
    of_same_kind,
    require_optimizer,
    with_extra,
)
from funcnet.optim.wrappers.finite import all_finite, step_if

__all__ = ["SkipState", "skip_nonfinite"]


class SkipState(NamedTuple):
    """State of `skip_nonfinite`: steps skipped in all, and in a row; the inner state.

    Example:
        >>> state = optim.skip_nonfinite(optim.sgd(1.0)).init(jnp.zeros(1))
        >>> updates, state = optim.skip_nonfinite(optim.sgd(1.0)).update(jnp.array([jnp.nan]), state)
        >>> state._fields, int(state.skipped)
        (('skipped', 'in_a_row', 'inner'), 1)
    """

    skipped: Array
    in_a_row: Array
    inner: PyTree


def skip_nonfinite(optimizer: GradientTransformation) -> GradientTransformation:
    """Skip a step whose gradients hold an infinity or a NaN, and count it.

    Neither the parameters nor the inner optimizer see such a step. Watch ``state.in_a_row``: a run
    that skips every step is not training.

    Args:
        optimizer: the optimizer inside.

    Returns:
        An optimizer with a `SkipState`.

    Example:
        >>> optimizer = optim.skip_nonfinite(optim.sgd(1.0))
        >>> updates, state = optimizer.update(jnp.array([jnp.inf]), optimizer.init(jnp.zeros(1)))
        >>> updates.tolist(), int(state.skipped)
        ([-0.0], 1)
    """
    require_optimizer("skip_nonfinite", optimizer)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> SkipState:
        zero = jnp.zeros((), jnp.int32)
        return SkipState(zero, zero.copy(), optimizer.init(params))

    def update(
        grads: PyTree, state: SkipState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, SkipState]:
        require_state("skip_nonfinite", state, SkipState)
        good = all_finite(grads)
        updates, inner = inner_update(grads, state.inner, params, **extra)
        updates, inner = step_if(good, updates, inner, state.inner)
        skipped = jnp.where(good, state.skipped, counted(state.skipped))
        in_a_row = jnp.where(good, 0, counted(state.in_a_row))
        return updates, SkipState(skipped, in_a_row, inner)

    return of_same_kind(optimizer, init, update)
