"""Lookahead: an optimizer explores, and slow parameters follow."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_positive, check_probability
from funcnet.core.leaf_kinds import is_trainable
from funcnet.optim.protocol import GradientTransformation, of_same_kind, require_params, with_extra

__all__ = ["LookaheadState", "lookahead"]


class LookaheadState(NamedTuple):
    """State of `lookahead`: the count of steps, the slow parameters, the inner state."""

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
        k: how many fast steps make a slow one.

    Returns:
        An optimizer with a `LookaheadState`; its ``update`` needs the parameters.

    Raises:
        ValueError: ``k`` is not positive or ``alpha`` not in [0, 1].

    Example:
        >>> optimizer = optim.lookahead(optim.sgd(1.0), alpha=0.5, k=1)
        >>> params = jnp.array([4.0])
        >>> updates, _ = optimizer.update(jnp.array([2.0]), optimizer.init(params), params)
        >>> updates.tolist()
        [-1.0]

    Reference: Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", NeurIPS 2019
    """
    check_positive("k", k)
    check_probability("alpha", alpha)
    inner_update = with_extra(optimizer.update)

    def init(params: PyTree) -> LookaheadState:
        return LookaheadState(
            jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params), optimizer.init(params)
        )

    def update(
        grads: PyTree, state: LookaheadState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, LookaheadState]:
        require_params("lookahead", params)
        updates, inner = inner_update(grads, state.inner, params, **extra)
        count = state.step + jnp.ones((), jnp.int32)
        sync = count % k == 0

        def slower(slow: Any, p: Any, u: Any) -> Any:
            if not is_trainable(p):
                return slow
            return jnp.where(sync, slow + alpha * (p + u.astype(p.dtype) - slow), slow)

        slow = jax.tree.map(slower, state.slow, params, updates)
        updates = jax.tree.map(
            lambda u, s, p: jnp.where(sync, (s - p).astype(u.dtype), u) if is_trainable(p) else u,
            updates,
            slow,
            params,
        )
        return updates, LookaheadState(count, slow, inner)

    return of_same_kind(optimizer, init, update)
