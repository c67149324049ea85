"""Gradient accumulation: one step for several gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.leaf_kinds import is_none
from funcnet.optim.leaf_rule import (
    jax_leaf,
    moves,
    require_shape,
    require_state,
    whole,
    zeros_like_moved,
)
from funcnet.optim.protocol import (
    GradientTransformation,
    of_same_kind,
    require_optimizer,
    with_extra,
)
from funcnet.optim.row_sparse import RowSparse

__all__ = ["AccumulateState", "accumulate"]


class AccumulateState(NamedTuple):
    """State of `accumulate`: micro-steps since the last step, their mean gradient, the inner.

    Example:
        >>> optimizer = optim.accumulate(optim.sgd(1.0), 2)
        >>> state = optimizer.init(jnp.zeros(1))
        >>> updates, state = optimizer.update(jnp.array([3.0]), state)
        >>> state._fields
        ('micro_step', 'grads', 'inner')
    """

    micro_step: Array
    grads: PyTree
    inner: PyTree


def accumulate(optimizer: GradientTransformation, steps: int) -> GradientTransformation:
    r"""Step once for every ``steps`` calls, with the mean of their gradients: ``g = Σ_i g_i / steps``.

    Between steps the updates change nothing. The mean is taken in at least 32 bits; a gradient of
    ``None`` adds nothing to it. Where all
    micro-batches are at hand at once, ``value_and_grad(..., microbatches=k)`` does the same
    without a buffer in the state; so does ``training.supervised(..., microbatches=k)``, which also
    weighs each by what its loss is the mean of, such as tokens.

    Args:
        optimizer: the optimizer inside.
        steps: how many gradients make one.

    Returns:
        An optimizer with an `AccumulateState`.

    Raises:
        ValueError: ``steps`` is not a whole number from 1 on.

    Example:
        >>> optimizer = optim.accumulate(optim.sgd(1.0), 2)
        >>> state = optimizer.init(jnp.zeros(1))
        >>> first, state = optimizer.update(jnp.array([1.0]), state)
        >>> second, state = optimizer.update(jnp.array([3.0]), state)
        >>> first.tolist(), second.tolist()
        ([-0.0], [-2.0])
    """
    steps = whole("steps", steps)
    require_optimizer("accumulate", optimizer)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> AccumulateState:
        zeros = zeros_like_moved(params)
        return AccumulateState(jnp.zeros((), jnp.int32), zeros, optimizer.init(params))

    def update(
        grads: PyTree, state: AccumulateState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, AccumulateState]:
        require_state("accumulate", state, AccumulateState)

        def add(total: Any, g: Any) -> Any:
            if total is None or not moves(g):
                return total
            if isinstance(g, RowSparse):
                values = g.values.astype(total.dtype)
                return RowSparse(g.rows, values / steps).add_to(total)
            require_shape("accumulate", g, total.shape)
            return total + jax_leaf(g).astype(total.dtype) / steps

        mean = jax.tree.map(add, state.grads, grads, is_leaf=is_none)

        def step(inner: PyTree) -> tuple[PyTree, PyTree, PyTree]:
            updates, inner = inner_update(mean, inner, params, **extra)
            return updates, inner, jax.tree.map(jnp.zeros_like, mean)

        def wait(inner: PyTree) -> tuple[PyTree, PyTree, PyTree]:
            shapes = jax.eval_shape(step, inner)[0]
            quiet = jax.tree.map(lambda x: jnp.full(x.shape, -0.0, x.dtype), shapes)
            return quiet, inner, mean

        last = state.micro_step >= steps - 1
        updates, inner, kept = jax.lax.cond(last, step, wait, state.inner)
        updates = jax.tree.map(lambda u, g: g if u is None else u, updates, grads, is_leaf=is_none)
        micro_step = jnp.where(last, 0, state.micro_step + 1).astype(jnp.int32)
        return updates, AccumulateState(micro_step, kept, inner)

    return of_same_kind(optimizer, init, update)
