"""Lookahead: an optimizer explores, and slow parameters follow."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_fraction
from funcnet.optim.leaf_rule import (
    is_gradient,
    jax_leaf,
    map_moved,
    moves,
    remembered,
    require_state,
    whole,
)
from funcnet.optim.protocol import (
    GradientTransformation,
    apply_updates,
    of_same_kind,
    require_optimizer,
    require_params,
    with_extra,
)
from funcnet.optim.row_sparse import RowSparse
from funcnet.optim.settings import if_known

__all__ = ["LookaheadState", "lookahead"]


class LookaheadState(NamedTuple):
    """State of `lookahead`: steps since the slow parameters moved, those parameters, the inner state.

    Example:
        >>> state = optim.lookahead(optim.sgd(1.0), k=5).init(jnp.array([4.0]))
        >>> state._fields
        ('step', 'slow', 'inner')
    """

    step: Array
    slow: PyTree
    inner: PyTree


def lookahead(
    optimizer: GradientTransformation, alpha: float = 0.5, k: int = 6
) -> GradientTransformation:
    r"""Let an optimizer explore for ``k`` steps, then go part of the way and start from there.

    .. math:: \phi \leftarrow \phi + \alpha (p - \phi), \qquad p \leftarrow \phi
              \qquad \text{every } k \text{ steps}

    Args:
        optimizer: the optimizer of the fast weights *p*, which are the parameters.
        alpha: how far the slow weights φ follow.
        k: how many fast steps make a slow one. A leaf without a gradient in the last of them waits
            for the next.

    Returns:
        An optimizer with a `LookaheadState`; its ``update`` needs the parameters.

    Raises:
        ValueError: ``k`` is not a whole number from 1 on, or ``alpha`` not in [0, 1].

    Example:
        >>> optimizer = optim.lookahead(optim.sgd(1.0), alpha=0.5, k=1)
        >>> params = jnp.array([4.0])
        >>> updates, _ = optimizer.update(jnp.array([2.0]), optimizer.init(params), params)
        >>> updates.tolist()
        [-1.0]

    Reference: Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", NeurIPS 2019
    """
    k = whole("k", k)
    if_known(check_fraction, "alpha", alpha)
    require_optimizer("lookahead", optimizer)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> LookaheadState:
        return LookaheadState(jnp.zeros((), jnp.int32), remembered(params), optimizer.init(params))

    def update(
        grads: PyTree, state: LookaheadState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, LookaheadState]:
        require_state("lookahead", state, LookaheadState)
        require_params("lookahead", params)
        updates, inner = inner_update(grads, state.inner, params, **extra)
        sync = state.step >= k - 1

        def slower(u: Any, p: Any, slow: Any) -> Any:
            if not moves(u, p):
                return slow
            fast = jax_leaf(apply_updates(jax_leaf(p).astype(slow.dtype), u))
            return jnp.where(sync, slow + alpha * (fast - slow), slow)

        def towards(u: Any, p: Any, slow: Any) -> Array:
            p = jax_leaf(p)
            u = u.add_to(jnp.zeros_like(p)) if isinstance(u, RowSparse) else jax_leaf(u)
            return jnp.where(sync, (slow - p.astype(slow.dtype)).astype(u.dtype), u)

        slow = jax.tree.map(slower, updates, params, state.slow, is_leaf=is_gradient)
        updates = map_moved(towards, updates, params, slow)
        step = jnp.where(sync, 0, state.step + 1).astype(jnp.int32)
        return updates, LookaheadState(step, slow, inner)

    return of_same_kind(optimizer, init, update)
