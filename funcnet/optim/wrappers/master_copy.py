"""High-precision copies of parameters that are stored in 16 bits."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, DType, PyTree
from funcnet.optim.leaf_rule import jax_leaf, map_moved, on_values, require_state
from funcnet.optim.protocol import (
    GradientTransformation,
    apply_updates,
    of_same_kind,
    require_optimizer,
    require_params,
    with_extra,
)

__all__ = ["MasterState", "master_copy"]


class MasterState(NamedTuple):
    """State of `master_copy`: the parameters in high precision, the inner state.

    Example:
        >>> state = optim.master_copy(optim.sgd(1e-3)).init(jnp.ones(1, jnp.bfloat16))
        >>> state.master.dtype.name
        'float32'
    """

    master: PyTree
    inner: PyTree


def master_copy(
    optimizer: GradientTransformation, dtype: DType = jnp.float32
) -> GradientTransformation:
    r"""Keep the parameters in float32 beside their 16-bit copies, so that small steps add up.

    A bfloat16 number near 1 cannot take a step smaller than 0.004; its float32 master can. The
    updates make each parameter its master, rounded.

    Args:
        optimizer: the optimizer inside; it sees gradients and parameters in ``dtype``.
        dtype: of the master copies; leaves at least that wide are their own.

    Returns:
        An optimizer with a `MasterState`; its ``update`` needs the parameters, and its updates are
        in ``dtype``.

    Example:
        >>> optimizer = optim.master_copy(optim.sgd(1e-3))
        >>> params = jnp.ones(1, jnp.bfloat16)
        >>> state = optimizer.init(params)
        >>> for _ in range(4):
        ...     updates, state = optimizer.update(jnp.ones(1, jnp.bfloat16), state, params)
        ...     params = optim.apply_updates(params, updates)
        >>> round(float(state.master[0]), 4), float(params[0])
        (0.996, 0.99609375)

    Reference: Micikevicius et al., "Mixed Precision Training", ICLR 2018
    """
    require_optimizer("master_copy", optimizer)
    inner_update = with_extra(optimizer.update)

    def widen(x: Array) -> Array:
        return jnp.array(x, np.promote_types(x.dtype, jnp.dtype(dtype)), copy=True)

    def init(params: PyTree) -> MasterState:
        master = map_moved(on_values(widen), params)
        return MasterState(master, optimizer.init(master))

    def update(
        grads: PyTree, state: MasterState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, MasterState]:
        require_state("master_copy", state, MasterState)
        require_params("master_copy", params)
        wide = map_moved(on_values(widen), grads)
        updates, inner = inner_update(wide, state.inner, state.master, **extra)
        master = apply_updates(state.master, updates)

        def rounded(u: Any, m: Array, p: Any) -> Array:
            p = jax_leaf(p)
            return m.astype(p.dtype).astype(m.dtype) - p.astype(m.dtype)

        return map_moved(rounded, updates, master, params), MasterState(master, inner)

    return of_same_kind(optimizer, init, update)
