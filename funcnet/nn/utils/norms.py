"""Norms and counts of a tree's arrays, by path and in all; gradients made shorter by them."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, PyTree
from funcnet.core.checks import check_non_negative
from funcnet.core.dtypes import at_least_float32, widest
from funcnet.core.leaf_kinds import check_holds_arrays
from funcnet.core.paths import leaves_with_paths, select
from funcnet.optim.gradients.global_norm import each_row_once
from funcnet.optim.leaf_rule import is_gradient, jax_leaf, map_moved, moves, on_values

__all__ = [
    "clip_grad_norm",
    "clip_grad_value",
    "clip_grads_with_norm",
    "get_total_norm",
    "parameter_counts",
    "parameter_norms",
]


def parameter_norms(
    parameters: PyTree, patterns: str | Iterable[str] = "*", norm_type: float = 2.0
) -> dict[str, Array]:
    """Measure each array of a tree by its dotted path: ``(Σ_i |x_i|^p)^(1/p)``.

    Args:
        parameters: params, gradients or any other tree; constants are left out.
        patterns: globs on the paths.
        norm_type: the order of the norm, also ``math.inf``.

    Returns:
        Path to a scalar in 32 bits at least, in the order of ``jax.tree.leaves``; works under any transform.

    Raises:
        ValueError: a pattern matches no path.

    Example:
        >>> params = {"fc": {"weight": jnp.array([[3.0, 4.0]]), "bias": jnp.ones(1)}}
        >>> {path: float(norm) for path, norm in nn.utils.parameter_norms(params, "*.weight").items()}
        {'fc.weight': 5.0}
    """
    order = float(norm_type)
    chosen = _chosen("parameter_norms", parameters, patterns)
    return {path: _norm(leaf, order) for path, leaf in chosen}


def parameter_counts(parameters: PyTree, patterns: str | Iterable[str] = "*") -> dict[str, int]:
    """Count the numbers of each array of a tree by its dotted path; ``sum`` of the values counts all.

    Args:
        parameters: params or any other tree, also of shapes alone; constants are left out.
        patterns: globs on the paths.

    Returns:
        Path to a number.

    Raises:
        ValueError: a pattern matches no path.

    Example:
        >>> params, _ = fn.functionalize(nn.Linear(3, 4)).init(jax.random.key(0))
        >>> sum(nn.utils.parameter_counts(params).values()), nn.utils.parameter_counts(params, "weight")
        (16, {'weight': 12})
    """
    return {
        path: math.prod(leaf.shape if hasattr(leaf, "shape") else ())
        for path, leaf in _chosen("parameter_counts", parameters, patterns)
    }


def get_total_norm(tensors: PyTree, norm_type: float = 2.0) -> Array:
    """Measure a whole tree: the norm of the norms of its arrays, ``(Σ_i |x_i|^p)^(1/p)``.

    Args:
        tensors: gradients, params or any other tree; constants are left out.
        norm_type: the order of the norm, also ``math.inf``.

    Returns:
        A scalar in 32 bits at least; 0 for a tree without numbers. At zero its gradient is zero.

    Example:
        >>> float(nn.utils.get_total_norm({"a": jnp.array([3.0]), "b": jnp.array(4.0)}))
        5.0
        >>> float(nn.utils.get_total_norm([jnp.array([3.0, -7.0])], math.inf))
        7.0

    Reference: ``torch.nn.utils.get_total_norm``.
    """
    order = float(norm_type)
    norms = [_norm(leaf, order) for _, leaf in _chosen("get_total_norm", tensors, ())]
    if not norms:
        return jnp.zeros(())
    wide = widest(*(norm.dtype for norm in norms))
    return _norm(jnp.stack([norm.astype(wide) for norm in norms]), order)


def clip_grads_with_norm(grads: PyTree, max_norm: ArrayLike, total_norm: ArrayLike) -> PyTree:
    """Scale all gradients together by what brings a norm that is known down to ``max_norm``.

    ``g * min(1, max_norm / total_norm)``

    Args:
        grads: a tree of gradients; constants and None stay.
        max_norm: the bound.
        total_norm: of the gradients, as `get_total_norm` gives it.

    Returns:
        A new tree, of the same dtypes; gradients that are short enough stay as they are.

    Raises:
        ValueError: a negative bound.

    Example:
        >>> grads = {"w": jnp.array([30.0, 40.0])}
        >>> nn.utils.clip_grads_with_norm(grads, 1.0, nn.utils.get_total_norm(grads))["w"].round(3).tolist()
        [0.6000000238418579, 0.800000011920929]

    Reference: ``torch.nn.utils.clip_grads_with_norm_``.
    """
    check_holds_arrays("clip_grads_with_norm", grads)
    _check_bound("max_norm", max_norm)
    factor = jnp.minimum(
        1.0, jnp.asarray(max_norm, float) / (jnp.asarray(total_norm, float) + 1e-6)
    )

    def shorter(g: Array) -> Array:
        wide = at_least_float32(g.dtype)
        return (g.astype(wide) * factor.astype(wide)).astype(g.dtype)

    return map_moved(on_values(shorter), grads)


def clip_grad_norm(
    grads: PyTree, max_norm: ArrayLike, norm_type: float = 2.0
) -> tuple[PyTree, Array]:
    """Scale all gradients together so that their norm is at most ``max_norm``: ``g * min(1, max_norm / ‖g‖)``.

    In a chain before an optimizer: `funcnet.optim.clip_by_global_norm`. For gradients that are not finite:
    `funcnet.optim.skip_nonfinite`.

    Args:
        grads: a tree of gradients; constants and None stay.
        max_norm: the bound.
        norm_type: the order of the norm, also ``math.inf``.

    Returns:
        The new gradients, and the norm that they had before.

    Raises:
        ValueError: a negative bound.

    Example:
        >>> grads, norm = nn.utils.clip_grad_norm({"w": jnp.array([30.0, 40.0])}, 1.0)
        >>> grads["w"].round(3).tolist(), float(norm)
        ([0.6000000238418579, 0.800000011920929], 50.0)

    Reference: Pascanu, Mikolov and Bengio, On the difficulty of training recurrent neural networks, 2013,
    https://arxiv.org/abs/1211.5063; ``torch.nn.utils.clip_grad_norm_``.
    """
    total_norm = get_total_norm(grads, norm_type)
    return clip_grads_with_norm(grads, max_norm, total_norm), total_norm


def clip_grad_value(grads: PyTree, clip_value: ArrayLike) -> PyTree:
    """Bound every number of the gradients: ``min(max(g, -clip_value), clip_value)``.

    In a chain before an optimizer: `funcnet.optim.clip_by_value`.

    Args:
        grads: a tree of gradients; constants and None stay.
        clip_value: the bound.

    Returns:
        A new tree, of the same dtypes.

    Raises:
        ValueError: a negative bound.

    Example:
        >>> nn.utils.clip_grad_value([jnp.array([0.5, -3.0])], 1.0)[0].tolist()
        [0.5, -1.0]

    Reference: ``torch.nn.utils.clip_grad_value_``.
    """
    check_holds_arrays("clip_grad_value", grads)
    _check_bound("clip_value", clip_value)

    def bounded(g: Array) -> Array:
        bound = jnp.asarray(clip_value, g.dtype)
        return jnp.clip(g, -bound, bound)

    return map_moved(on_values(bounded), grads)


def _check_bound(name: str, value: ArrayLike) -> None:
    if not isinstance(value, jax.Array):  # a traced one cannot be asked
        check_non_negative(name, value)


def _chosen(function: str, tree: PyTree, patterns: str | Iterable[str]) -> list[tuple[str, Any]]:
    """List the leaves that a gradient moves, by path; no pattern at all chooses every one, even of none."""
    check_holds_arrays(function, tree)
    leaves = [(path, leaf) for path, leaf in leaves_with_paths(tree, is_gradient) if moves(leaf)]
    if patterns == ():
        return leaves
    chosen = select(patterns, [path for path, _ in leaves])
    return [(path, leaf) for path, leaf in leaves if path in chosen]


def _norm(leaf: Any, order: float) -> Array:
    """Return the norm of all elements in 32 bits at least, with the gradient 0 where it is 0."""
    array = jax_leaf(each_row_once(leaf))
    sizes = jnp.abs(array.astype(at_least_float32(array.dtype)))
    if order == math.inf:
        return sizes.max(initial=0.0)
    if order == -math.inf:
        return sizes.min()
    if order == 0:
        return (sizes != 0).sum().astype(sizes.dtype)
    if order == 1:
        return sizes.sum()
    some = sizes != 0 if order > 0 else jnp.ones_like(sizes, bool)
    power = int(order) if order == int(order) else order  # products rather than logarithms
    total = jnp.where(some, jnp.where(some, sizes, 1) ** power, 0).sum()
    nothing = total == 0
    return jnp.where(nothing, 0, jnp.where(nothing, 1, total) ** (1 / order))
