"""DiLoCo: replicas train alone, and meet every now and then."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.optim.descent.sgd import sgd
from funcnet.optim.leaf_rule import (
    is_gradient,
    jax_leaf,
    moves,
    remembered,
    require_state,
    whole,
)
from funcnet.optim.protocol import (
    GradientTransformation,
    apply_updates,
    of_same_kind,
    require_params,
    with_extra,
)
from funcnet.optim.row_sparse import RowSparse
from funcnet.parallel.communication.axes import MeshAxes, require_bound_axis
from funcnet.parallel.communication.reductions import (
    check_reduce_dtype,
    local_gradients,
    mean_over,
)

__all__ = ["DiLoCoState", "diloco"]


class DiLoCoState(NamedTuple):
    """State of `diloco`.

    Attributes:
        step: steps since replicas met.
        anchor: the parameters from which all replicas went on then, in 32 bits at least.
        inner: the state of the inner optimizer, another one in each replica.
        outer: the state of the outer optimizer.

    Example:
        >>> state = fn.parallel.diloco(optim.sgd(0.1), every=50).init(jnp.ones(2))
        >>> int(state.step), state.anchor.tolist()
        (0, [1.0, 1.0])
    """

    step: Array
    anchor: PyTree
    inner: PyTree
    outer: PyTree


def diloco(
    inner: GradientTransformation,
    outer: GradientTransformation | None = None,
    *,
    every: int,
    axis: MeshAxes = "data",
    reduce_dtype: Any | None = None,
) -> GradientTransformation:
    r"""Let each replica train alone, and every so many steps move all of them to a common place.

    .. math::
        p_d &\leftarrow p_d + \mathrm{inner}(g_d) \\
        \text{every } H \text{ steps:} \quad
        \Delta &= \frac1n \sum_d (\phi - p_d), \qquad
        \phi \leftarrow \phi + \mathrm{outer}(\Delta), \qquad p_d \leftarrow \phi

    Devices communicate only then: *1/H* of the bytes of data-parallel training. Gradients are those of
    each replica's own rows, as in a step made by `local_step`. The inner optimizers' states are never averaged.
    The anchor and the outer momentum take the memory of the parameters once more each.

    With ``outer=optim.sgd(1.0)`` the anchor φ becomes the mean of the replicas, which is local SGD (FedAvg).

    Args:
        inner: the optimizer of each replica; AdamW in the paper.
        outer: the optimizer of the anchor, whose gradient is Δ; by default the paper's
            ``optim.sgd(0.7, momentum=0.9, nesterov=True)``.
        every: *H*; the paper has 500.
        axis: the mesh axis of the replicas, or several.
        reduce_dtype: in which dtype Δ travels; ``None``: in 32 bits at least.

    Returns:
        An optimizer with a `DiLoCoState`; its ``update`` needs the parameters.

    Raises:
        ValueError: ``every`` is not a whole number from 1 on; ``update`` does not run on each device
            of the axis.
        TypeError: ``reduce_dtype`` is no dtype of real floats.

    Example:
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> optimizer = fn.parallel.diloco(optim.adamw(1e-3), every=50)
        >>> def step(run, batch):
        ...     params, state = run
        ...     loss, grads = jax.value_and_grad(lambda p: jnp.mean((batch @ p) ** 2))(params)
        ...     updates, state = optimizer.update(grads, state, params)
        ...     return (optim.apply_updates(params, updates), state), {"loss": loss}
        >>> params = jnp.ones(2)
        >>> run = fn.parallel.make_replicas((params, optimizer.init(params)), mesh)
        >>> run, metrics = jax.jit(fn.parallel.local_step(step, mesh))(run, jnp.ones((8, 2)))
        >>> int(fn.parallel.merge_replicas(run)[1].step)
        1

    Reference: Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models",
    2023, https://arxiv.org/abs/2311.08105; Stich, "Local SGD Converges Fast and Communicates Little",
    2018, https://arxiv.org/abs/1805.09767
    """
    every = whole("every", every)
    check_reduce_dtype(reduce_dtype)
    outer = sgd(0.7, momentum=0.9, nesterov=True) if outer is None else outer
    inner_update, outer_update = with_extra(inner.update), with_extra(outer.update)

    def init(params: PyTree) -> DiLoCoState:
        step, anchor = jnp.zeros((), jnp.int32), remembered(params)
        return DiLoCoState(step, anchor, inner.init(params), outer.init(anchor))

    def update(
        grads: PyTree, state: DiLoCoState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, DiLoCoState]:
        require_state("diloco", state, DiLoCoState)
        require_params("diloco", params)
        count = require_bound_axis("diloco", axis)
        local_gradients("diloco", grads, params, axis)  # not summed by JAX
        updates, inner_state = inner_update(grads, state.inner, params, **extra)
        updates = jax.tree.map(_dense_update, updates, params, is_leaf=is_gradient)

        def meet(anchor: PyTree, outer_state: PyTree) -> tuple[PyTree, PyTree, PyTree]:
            away = jax.tree.map(_away, updates, params, anchor, is_leaf=is_gradient)
            local, rebuild = local_gradients("diloco", away, anchor, axis)
            mean = rebuild(mean_over(local, axis, count, reduce_dtype))
            moved, outer_state = outer_update(mean, outer_state, anchor)
            anchor = apply_updates(anchor, moved)
            back = jax.tree.map(_back, updates, params, anchor, is_leaf=is_gradient)
            return back, anchor, outer_state

        def go_on(anchor: PyTree, outer_state: PyTree) -> tuple[PyTree, PyTree, PyTree]:
            return updates, anchor, outer_state

        # the same everywhere, so that all devices communicate or none
        together = state.step >= every - 1
        updates, anchor, outer_state = jax.lax.cond(
            together, meet, go_on, state.anchor, state.outer
        )
        step = jnp.where(together, 0, state.step + 1).astype(jnp.int32)
        return updates, DiLoCoState(step, anchor, inner_state, outer_state)

    return of_same_kind(inner, init, update)


def _dense_update(u: Any, p: Any) -> Any:
    return u.add_to(jnp.zeros_like(p)) if isinstance(u, RowSparse) else u


def _away(u: Any, p: Any, anchor: Any) -> Any:
    """How far the anchor is from a replica after its step: a gradient, which points uphill."""
    if not moves(u, p):
        return None
    return anchor - jax_leaf(apply_updates(jax_leaf(p).astype(anchor.dtype), u))


def _back(u: Any, p: Any, anchor: Any) -> Any:
    # Exact where both are within a factor of two, else to the last bit; the next meeting starts from the
    # anchor again, so that nothing adds up.
    return (anchor - jax_leaf(p).astype(anchor.dtype)).astype(u.dtype) if moves(u, p) else u
