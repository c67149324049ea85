"""Masks of the numbers that are nearest to zero, and of numbers drawn by chance."""

from collections.abc import Iterable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from funcnet.compression.pruning.ranking import Amount, Chosen, chosen_arrays, rank_masks
from funcnet.compression.pruning.slices import slice_masks
from funcnet.core.aliases import Array, Key, PyTree
from funcnet.core.keys import fold_path, is_key
from funcnet.module.functionalize import Functional
from funcnet.module.module import Module

__all__ = ["RankScope", "magnitude_masks", "random_masks"]

RankScope = Literal["global", "layer"]
"""Whether numbers of all arrays are ranked together, or of each array, or layer of a stack, for itself."""


def magnitude_masks(
    params: PyTree,
    amount: Amount,
    patterns: str | Iterable[str] | None = None,
    *,
    scope: RankScope = "global",
    masks: PyTree = None,
    module: Module | Functional | None = None,
) -> PyTree:
    """Return masks that are false where the absolute values are smallest.

    Args:
        params: any tree of arrays.
        amount: a fraction from 0.0 to 1.0, or a count; of all numbers chosen, or with ``scope="layer"`` of each
            array. It may be traced, so that `optim.keep_masked` takes this function with a schedule.
        patterns: globs on dotted paths; by default all arrays with two axes or more: weights, but neither biases
            nor norms.
        scope: rank all numbers together, or those of each array.
        masks: earlier ones. What they mask stays masked, and the amount is of what is left.
        module: the model. With it, the layers of a stack (`nn.Repeat`) count as arrays of their own.

    Returns:
        A tree like params of booleans, True for what is kept; None for arrays that were not chosen.

    Raises:
        ValueError: the amount is out of range, or a pattern matches no array.
        TypeError: the amount is no number.

    Example:
        >>> params = {"weight": jnp.array([[1.0, -4.0], [3.0, 2.0]]), "bias": jnp.zeros(2)}
        >>> fn.compression.magnitude_masks(params, 0.5)["weight"].tolist()
        [[False, True], [True, False]]

    Reference: Han et al., "Learning both Weights and Connections", 2015, https://arxiv.org/abs/1506.02626;
    ``torch.nn.utils.prune.l1_unstructured`` (``scope="layer"``) and ``global_unstructured``
    """
    chosen = chosen_arrays(params, patterns, module)
    scores = {path: jnp.abs(jnp.asarray(one.values)) for path, one in chosen.items()}
    return rank_masks(params, scores, amount, scope, _stacked(chosen), masks)


def random_masks(
    key: Key,
    params: PyTree,
    amount: Amount,
    patterns: str | Iterable[str] | None = None,
    *,
    scope: RankScope = "layer",
    axis: int | None = None,
    masks: PyTree = None,
    module: Module | Functional | None = None,
) -> PyTree:
    """Return masks that are false at places drawn by chance, as many as the amount says.

    Each array's draw depends on the key and its dotted path alone. For one key, what a smaller amount masks is
    masked by a larger one too.

    Args:
        key: a random key.
        params: any tree of arrays.
        amount: a fraction from 0.0 to 1.0, or a count.
        patterns: globs on dotted paths; by default all arrays with two axes or more.
        scope: draw among all numbers together, or among those of each array.
        axis: draw whole slices along this axis instead of single numbers; then ``scope`` must be ``"layer"``.
        masks: earlier ones. What they mask stays masked, and the amount is of what is left.
        module: the model. With it, the layers of a stack (`nn.Repeat`) count as arrays of their own.

    Returns:
        A tree like params of booleans, True for what is kept; None for arrays that were not chosen.

    Raises:
        ValueError: the amount is out of range, a pattern matches no array, or an array has no such axis.
        TypeError: the amount is no number, or the key no key.

    Example:
        >>> params = {"weight": jnp.ones((4, 5)), "bias": jnp.ones(4)}
        >>> masks = fn.compression.random_masks(jax.random.key(0), params, 0.25)
        >>> int(masks["weight"].sum()), masks["bias"]
        (15, None)

    Reference: ``torch.nn.utils.prune.random_unstructured``, ``random_structured``
    """
    _check_key(key)
    chosen = chosen_arrays(params, patterns, module)
    if axis is None:
        scores = {path: _drawn(key, path, jnp.shape(one.values)) for path, one in chosen.items()}
        return rank_masks(params, scores, amount, scope, _stacked(chosen), masks)
    if scope != "layer":
        raise ValueError('slices are drawn within each array: leave out scope="global"')

    def score(path: str, rows: Array) -> Array:
        return _drawn(key, path, rows.shape[:-1])

    return slice_masks(params, dict.fromkeys(chosen, axis), chosen, amount, masks, score)


def _check_key(key: Any) -> None:
    if not is_key(key):
        raise TypeError(
            f"random_masks takes a random key first, such as jax.random.key(0); got {type(key).__name__}"
        )


def _drawn(key: Key, path: str, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(fold_path(key, path), shape)


def _stacked(chosen: dict[str, Chosen]) -> dict[str, Any]:
    return {path: one.stacked for path, one in chosen.items()}
