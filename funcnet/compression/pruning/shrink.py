"""Pruned units taken out: a description with smaller arrays, which computes what the masked one does."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.compression.pruning.applied import apply_masks
from funcnet.compression.pruning.ranking import Amount
from funcnet.compression.pruning.unit_masks import (
    chosen_units,
    kept_by_masks,
    rows_of,
    unit_masks,
)
from funcnet.compression.pruning.units import Part, UnitGroups, Units
from funcnet.compression.pruning.verified import verify_outputs
from funcnet.core.aliases import Array, Params, PyTree, State
from funcnet.core.paths import leaves_with_paths
from funcnet.module.description import layout_of, replaced
from funcnet.module.functionalize import Functional
from funcnet.module.layout import Layout
from funcnet.module.module import Module
from funcnet.module.rewriting.parts import arrays_by_path, description_of, trees_of
from funcnet.optim.masks import masks_like

__all__ = ["Shrunk", "shrink"]


class Shrunk(NamedTuple):
    """What `shrink` returns.

    Attributes:
        module: the smaller description.
        params: its parameters.
        state: its state.
        kept: which units of each layer are left, by the path of the layer; for a stack a row for each layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> found = fn.compression.shrink(model, params, state, 0.75, verify=jnp.ones((4, 2)))
        >>> found.params["0"]["weight"].shape, {path: kept.shape for path, kept in found.kept.items()}
        ((2, 2), {'0': (2,)})
    """

    module: Module
    params: Params
    state: State
    kept: dict[str, np.ndarray]


def shrink(
    module: Module | Functional,
    params: Params,
    state: State,
    pruned: PyTree | Amount,
    *,
    groups: UnitGroups | None = None,
    patterns: str | Iterable[str] = "*",
    norm: float = 2,
    verify: Any = None,
) -> Shrunk:
    """Take pruned units out of a model, so that its arrays are smaller.

    Rows of linear layers and convolutions go, with their biases, the norms of channels that follow, and the columns
    of the layer after those, through activations, pooling, dropout and `nn.Flatten`; in transformer layers the hidden
    units between ``linear1`` and ``linear2``; and heads of `nn.GroupedQueryAttention`. Stacked layers lose the same
    number each, every one its own units. The last layer of a chain keeps its outputs. An optimizer's state is not
    shrunk: start it anew.

    Channels that are added to others, as around a residual block, cannot go alone: they are not looked for, and where
    ``groups`` names such a layer, ``verify`` finds out.

    Args:
        module: a description.
        params: its parameters.
        state: its state.
        pruned: masks, of which units go whose rows are masked as a whole, or in a stack as many as go in every layer;
            or an amount: the units of the smallest norms go, as by `unit_masks`.
        groups: as of `unit_masks`.
        patterns: globs on the paths of the layers whose units may go.
        norm: which norm of a unit's weights counts, where an amount is given.
        verify: example inputs, one array or a tuple: outputs of the smaller model are compared with those of the
            masked one.

    Returns:
        ``(module, params, state, kept)``. Names are those of before; classes, too.

    Raises:
        ValueError: nothing can go, a group cannot be cut, or outputs differ.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> small, params, state, kept = fn.compression.shrink(
        ...     model, params, state, 0.75, verify=jnp.ones((4, 2)))
        >>> small[2], params["0"]["weight"].shape
        (Linear(in_features=2, out_features=3), (2, 2))

    Reference: Li et al., "Pruning Filters for Efficient ConvNets", 2017, https://arxiv.org/abs/1608.08710
    """
    module = description_of(module)
    layout = layout_of(module)
    units = chosen_units(layout, groups, patterns)
    masks = masks_like(params, pruned) if not _is_amount(pruned) else None
    # Compiled as a whole: one program instead of one for each shape and operation.
    masks, masked, found = jax.jit(partial(_marked, module, units, groups, patterns, norm))(
        params, masks, None if masks is not None else pruned
    )
    kept = {path: _equal_counts(one) for path, one in found.items()}
    kept = {path: one for path, one in kept.items() if not one.all()}
    if not kept:
        raise ValueError(
            f"no unit is masked as a whole, so nothing can go. Units lie in: {', '.join(units)}; masks of whole units "
            "come from unit_masks, or from structured_masks of rows"
        )
    going = [units[path] for path in kept]
    arrays = arrays_by_path(module, masked, state)
    taken, acts = jax.jit(partial(_taken_out, layout, going, kept))(arrays)
    _check_nothing_acts(acts)
    small = _rewritten(module, layout, going, kept)
    new_params, new_state = trees_of(small, taken)
    made = Shrunk(small, new_params, new_state, {path: _places(one) for path, one in kept.items()})
    if verify is not None:
        verify_outputs((module, masked, state), made[:3], verify)
    return made


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) or (hasattr(value, "dtype") and jnp.ndim(value) == 0)


def _marked(
    module: Module,
    units: Mapping[str, Units],
    groups: UnitGroups | None,
    patterns: str | Iterable[str],
    norm: float,
    params: Params,
    masks: PyTree,
    amount: Any,
) -> tuple[PyTree, Params, dict[str, Array]]:
    """Return masks, masked parameters, and which units of each layer are kept."""
    if masks is None:
        masks = unit_masks(module, params, amount, groups=groups, patterns=patterns, norm=norm)
    given = dict(leaves_with_paths(masks))
    layout = layout_of(module)
    found = {path: kept_by_masks(layout, one, given) for path, one in units.items()}
    known = {path: one for path, one in found.items() if one is not None}
    return masks, apply_masks(params, masks), known


def _check_nothing_acts(acts: Mapping[tuple[str, str], Array]) -> None:
    """Raise unless the layers that follow are masked where units go: then they go without a trace."""
    for (maker, taker), act in acts.items():
        if act:
            raise ValueError(
                f"units of {maker} go, and {taker} still reads them, so that their biases and norms act: mask all that "
                "belongs to them first, best before training: masks = compression.whole_units(module, params, masks)"
            )


def _equal_counts(kept: Array) -> np.ndarray:
    """Have each layer of a stack keep as many units as the one that keeps most."""
    keep = np.asarray(kept)
    rows = keep.reshape(-1, keep.shape[-1])
    most = max(int(rows.sum(-1).max()), 1)
    order = np.argsort(~rows, axis=-1, kind="stable")[:, :most]
    even = np.zeros_like(rows)
    np.put_along_axis(even, order, True, -1)
    return even.reshape(keep.shape)


def _places(kept: np.ndarray) -> np.ndarray:
    """Return the numbers of the units that are kept, in order, for each layer of a stack."""
    count = int(kept.reshape(-1, kept.shape[-1])[0].sum())
    return np.sort(np.argsort(~kept, axis=-1, kind="stable")[..., :count], -1)


def _taken_out(
    layout: Layout, units: list[Units], kept: Mapping[str, np.ndarray], arrays: dict[str, Array]
) -> tuple[dict[str, Array], dict[Any, Array]]:
    """Return all arrays of the smaller model; and whether a layer still reads units that go, by both layers."""
    taken, acts = dict(arrays), {}
    for one in units:
        keep = kept[one.path]
        for part in one.parts:
            if part.read:
                rows = rows_of(arrays[part.path], part, len(layout.sizes[part.path]))
                acts[one.path, part.path] = (rows.any(-1) & ~keep).any()
            taken[part.path] = _cut(layout, part, _places(keep), taken[part.path])
    return taken, acts


def _cut(layout: Layout, part: Part, places: np.ndarray, values: Array) -> Array:
    """Take what belongs to some units out of an array, in the order in which it lay there."""
    stacked = len(layout.sizes[part.path])
    wanted = np.sort(part.places[places].reshape(*places.shape[:-1], -1), -1)
    front = jnp.moveaxis(jnp.asarray(values), stacked + part.axis, stacked)
    index = wanted.reshape(*wanted.shape, *[1] * (front.ndim - stacked - 1))
    return jnp.moveaxis(
        jnp.take_along_axis(front, jnp.asarray(index), stacked), stacked, stacked + part.axis
    )


def _rewritten(
    module: Module, layout: Layout, units: list[Units], kept: Mapping[str, np.ndarray]
) -> Module:
    """Return the description of the smaller model."""
    specs: dict[int, Any] = {}
    sizes: dict[int, dict[str, int]] = {}
    for one in units:
        count = int(_places(kept[one.path]).shape[-1])
        for part in one.parts:
            old = layout.specs[part.path]
            shape = list(specs.get(id(old), old).shape)
            shape[part.axis] = count * part.places.shape[1]
            specs[id(old)] = old.completed(tuple(shape))
        for path, name, times in one.sizes:
            sizes.setdefault(id(layout.modules[path]), {})[name] = count * times

    def smaller(old: Any, new: Any) -> Any:
        own = vars(new)
        own.update({name: specs[id(spec)] for name, spec in own.items() if id(spec) in specs})
        own.update(sizes.get(id(old), {}))
        return new

    return replaced(module, smaller)
