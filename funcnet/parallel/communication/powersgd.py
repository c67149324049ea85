"""PowerSGD: devices exchange thin matrices in place of gradients, and remember what was lost."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_non_negative
from funcnet.core.dtypes import at_least_float32, is_float
from funcnet.core.keys import fold_path
from funcnet.core.paths import select
from funcnet.optim.leaf_rule import is_gradient, leaf_names, moves, require_state, whole
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation
from funcnet.parallel.communication.axes import MeshAxes, require_bound_axis
from funcnet.parallel.communication.low_rank import matrices_of, rounds_of_power_iteration
from funcnet.parallel.communication.reductions import (
    check_reduce_dtype,
    local_gradients,
    mean_over,
)

__all__ = ["PowerSGDState", "powersgd"]


class PowerSGDState(NamedTuple):
    """State of `powersgd`, by the dotted paths of the parameters whose gradients are compressed.

    Attributes:
        error: what was lost of this device's own gradients so far, in the shape of the parameter.
        q: *Q* of the latest step, ``(matrices, columns, rank)``, where the next power iteration starts.

    Example:
        >>> state = fn.parallel.powersgd(rank=2).init({"weight": jnp.ones((64, 32)), "bias": jnp.ones(64)})
        >>> {path: q.shape for path, q in state.q.items()}
        {'weight': (1, 32, 2)}
    """

    error: dict[str, Array]
    q: dict[str, Array]


def powersgd(
    rank: int = 4,
    axis: MeshAxes = "data",
    *,
    min_compression: float = 2.0,
    stacked: str | Iterable[str] | None = None,
    reduce_dtype: Any | None = None,
    seed: int = 0,
) -> GradientTransformation:
    r"""Replace each device's gradients by nearly their mean: of each matrix its leading directions.

    .. math::
        M_d &= g_d + e_d, \qquad
        P = \mathrm{orth}\Big(\frac1n\sum_d M_d \, \mathrm{orth}(Q)\Big), \qquad
        Q \leftarrow \frac1n\sum_d M_d^\top P \\
        \hat g &= P Q^\top, \qquad e_d \leftarrow M_d - \hat g

    For a matrix of *n* × *m*, *(n + m) · rank* numbers travel in place of *n · m*. What is left out (the error *e*)
    is added to the next step's gradient, so that nothing is lost for good. Biases and other
    arrays that would not get smaller are averaged whole. The kernel of a convolution is seen as a matrix of outputs
    by all else.

    The first link of a chain, in a step that runs on each device's part of the batch (`local_step`). A gradient
    that is not finite is passed on, and leaves the state as it is: put `optim.skip_nonfinite` around what
    comes after.

    Args:
        rank: the number of directions; 1 to 4 as a rule, more for language models.
        axis: the mesh axis, or several.
        min_compression: arrays that would not get smaller by more than this factor are averaged whole.
        stacked: globs on dotted paths of parameters whose leading axis counts layers, as
            those of `nn.Repeat`: each is a matrix of its own.
        reduce_dtype: in which dtype numbers travel; ``None``: in 32 bits at least.
        seed: of the first *Q*.

    Returns:
        A transformation with a `PowerSGDState`.

    Raises:
        ValueError: ``rank`` is not a whole number from 1 on; a glob of ``stacked`` matches nothing;
            ``update`` does not run on each device of the axis.
        TypeError: ``reduce_dtype`` is no dtype of real floats.

    Example:
        >>> optimizer = optim.chain(fn.parallel.powersgd(rank=2), optim.sgd(0.1, momentum=0.9))
        >>> state = optimizer.init({"weight": jnp.ones((64, 32)), "bias": jnp.ones(64)})
        >>> {path: q.shape for path, q in state[0].q.items()}
        {'weight': (1, 32, 2)}

    Reference: Vogels, Karimireddy and Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for
    Distributed Optimization", NeurIPS 2019, https://arxiv.org/abs/1905.13727
    """
    rank = whole("rank", rank)
    check_non_negative("min_compression", min_compression)
    check_reduce_dtype(reduce_dtype)

    def init(params: PyTree) -> PowerSGDState:
        names = leaf_names(params)
        leaves = jax.tree.leaves(params, is_leaf=is_gradient)
        in_stacks = set() if stacked is None else select(stacked, names)
        error, starts = {}, {}
        for name, leaf in zip(names, leaves, strict=True):
            start = _start(leaf, name in in_stacks, rank, min_compression)
            if start is not None:
                error[name] = jnp.zeros(leaf.shape, start.dtype)
                key = fold_path(jax.random.key(seed), name)
                starts[name] = jax.random.normal(key, start.shape, start.dtype)
        return PowerSGDState(error, starts)

    def update(
        grads: PyTree, state: PowerSGDState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PowerSGDState]:
        require_state("powersgd", state, PowerSGDState)
        count = require_bound_axis("powersgd", axis)
        local, rebuild = local_gradients("powersgd", grads, params, axis)
        names = _moving_names(grads)
        own = dict(zip(names, local, strict=True))
        thin = [name for name in names if name in state.q]
        whole_ones = [name for name in names if name not in state.q]

        def mean(arrays: Any) -> list[Array]:
            return mean_over(arrays, axis, count, reduce_dtype)

        means = dict(zip(whole_ones, mean([own[name] for name in whole_ones]), strict=True))
        fed = [own[name].astype(state.error[name].dtype) + state.error[name] for name in thin]
        starts = [state.q[name] for name in thin]
        seen = [_as_matrices(m, q) for m, q in zip(fed, starts, strict=True)]
        products, rights = rounds_of_power_iteration(seen, starts, mean)
        error, q = dict(state.error), dict(state.q)
        for name, m, product, right in zip(thin, fed, products, rights, strict=True):
            product = product.reshape(m.shape)
            # What was exchanged is the same on all devices, so that all of them keep their states or none.
            finite = jnp.isfinite(right).all()
            error[name] = jnp.where(finite, m - product, error[name])
            q[name] = jnp.where(finite, right, q[name])
            means[name] = product.astype(own[name].dtype)
        return rebuild([means[name] for name in names]), PowerSGDState(error, q)

    return ShapedTransformation(init, update)


def _start(leaf: Any, stacked: bool, rank: int, least: float) -> jax.ShapeDtypeStruct | None:
    """Describe *Q* of a parameter; ``None`` if it is not worth compressing."""
    if not moves(leaf) or not is_float(leaf):
        return None
    found = matrices_of(jnp.shape(leaf), stacked)
    if found is None:
        return None
    count, rows, columns = found
    rank = min(rows, columns, rank)
    if (rows + columns) * rank * least >= rows * columns:
        return None
    dtype = at_least_float32(jnp.result_type(leaf))
    return jax.ShapeDtypeStruct((count, columns, rank), dtype)


def _as_matrices(gradient: Array, start: Array) -> Array:
    count, columns, _ = start.shape
    return gradient.reshape(count, -1, columns)


def _moving_names(grads: PyTree) -> list[str]:
    leaves = jax.tree.leaves(grads, is_leaf=is_gradient)
    return [name for name, g in zip(leaf_names(grads), leaves, strict=True) if moves(g)]
