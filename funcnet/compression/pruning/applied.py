"""Masks put to use: zeros where they are false, masks joined, masks read back from zeros and from files."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.compression.pruning.ranking import chosen_arrays
from funcnet.core.aliases import Array, NamedArrays, PyTree
from funcnet.core.leaf_kinds import is_none
from funcnet.core.paths import leaves_with_paths, nest
from funcnet.optim.masks import masked, masks_like

__all__ = ["apply_masks", "combine_masks", "masks_of_zeros", "split_pruned"]


def apply_masks(params: PyTree, masks: PyTree) -> PyTree:
    """Return the arrays with zeros where masks are false.

    Masks of one's own are checked here, too: what ``custom_from_mask`` of PyTorch takes is any tree of booleans.

    Args:
        params: any tree of arrays.
        masks: a tree of the same dotted paths, or some of them, or a dict by dotted path; booleans, or zeros and ones.

    Returns:
        A tree like params. Arrays without a mask are the same ones.

    Raises:
        ValueError: a mask is of no array, has another shape, or holds other numbers.
        TypeError: a mask is of an array that is not trained, such as integers.

    Example:
        >>> params = {"weight": jnp.array([1.0, 2.0]), "bias": jnp.zeros(1)}
        >>> fn.compression.apply_masks(params, {"weight": np.array([True, False])})["weight"].tolist()
        [1.0, 0.0]

    Reference: ``torch.nn.utils.prune.custom_from_mask`` and ``remove``
    """

    def one(leaf: Any, mask: Array | None) -> Any:
        return leaf if mask is None else masked(leaf, mask)

    return jax.tree.map(one, params, masks_like(params, masks), is_leaf=is_none)


def combine_masks(*masks: PyTree) -> dict[str, Any]:
    """Join masks: kept is what all of them keep.

    Args:
        masks: trees, or dicts by dotted path; an array that one of them leaves out is masked by the others alone.

    Returns:
        Nested dicts of booleans.

    Raises:
        ValueError: two masks of an array differ in shape.

    Example:
        >>> first, second = np.array([True, True, False]), np.array([True, False, True])
        >>> fn.compression.combine_masks({"w": first}, {"w": second})["w"].tolist()
        [True, False, False]

    Reference: ``torch.nn.utils.prune.PruningContainer``
    """
    joined: dict[str, Array] = {}
    for tree in masks:
        for path, mask in leaves_with_paths(tree):
            kept = jnp.asarray(mask).astype(bool)
            if path in joined and joined[path].shape != kept.shape:
                raise ValueError(
                    f"two masks of {path or 'the array'} have the shapes {joined[path].shape} and {kept.shape}"
                )
            joined[path] = joined[path] & kept if path in joined else kept
    return nest(joined)


def masks_of_zeros(params: PyTree, patterns: str | Iterable[str] | None = None) -> PyTree:
    """Return masks that are false where arrays are zero: those of parameters that were pruned before.

    Args:
        params: any tree of arrays.
        patterns: globs on dotted paths; by default all arrays with two axes or more.

    Returns:
        A tree like params of booleans; None for arrays that were not chosen.

    Raises:
        ValueError: a pattern matches no array.

    Example:
        >>> params = {"weight": jnp.array([[0.0, 2.0]]), "bias": jnp.zeros(1)}
        >>> fn.compression.masks_of_zeros(params)["weight"].tolist()
        [[False, True]]
    """
    chosen = chosen_arrays(params, patterns, None)
    return masks_like(params, {path: jnp.asarray(one.values) != 0 for path, one in chosen.items()})


def split_pruned(arrays: NamedArrays) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take apart the names that PyTorch's pruning leaves in a ``state_dict``: ``weight_orig`` and ``weight_mask``.

    Args:
        arrays: by dotted name, such as a file of weights holds them.

    Returns:
        The arrays under the names that they had before they were pruned, masks multiplied in; and the masks by
        dotted path.

    Raises:
        ValueError: of a pair one is missing.
        TypeError: the arrays are in nested dicts.

    Example:
        >>> pruned = {"fc.weight_orig": np.ones(2), "fc.weight_mask": np.array([1.0, 0.0])}
        >>> arrays, masks = fn.compression.split_pruned(pruned)
        >>> arrays["fc.weight"].tolist(), masks["fc.weight"].tolist()
        ([1.0, 0.0], [True, False])

    Reference: ``torch.nn.utils.prune.remove``
    """
    if any(isinstance(array, Mapping) for array in arrays.values()):
        raise TypeError(
            "split_pruned takes arrays by dotted name, as checkpoint.load_arrays(path) returns them; got nested dicts"
        )
    originals = _named(arrays, "_orig")
    masks = {path: jnp.asarray(mask).astype(bool) for path, mask in _named(arrays, "_mask").items()}
    lone = sorted(originals.keys() ^ masks.keys())
    if lone:
        raise ValueError(
            f"of {', '.join(lone)} there is only one of the pair _orig and _mask: not a file of pruned weights"
        )
    parts = {f"{path}{ending}" for path in masks for ending in ("_orig", "_mask")}
    whole = {path: masked(originals[path], mask) for path, mask in masks.items()}
    return {name: array for name, array in arrays.items() if name not in parts} | whole, masks


def _named(arrays: Mapping[str, Any], ending: str) -> dict[str, Any]:
    return {name[: -len(ending)]: one for name, one in arrays.items() if name.endswith(ending)}
