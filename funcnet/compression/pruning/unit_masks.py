"""Masks of whole units: what `shrink` takes out, and outputs stay what they are."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.compression.pruning.ranking import Amount, keep_highest
from funcnet.compression.pruning.slices import norms_of_rows
from funcnet.compression.pruning.units import Part, UnitGroups, Units, units_of
from funcnet.core.aliases import Array, Params, PyTree
from funcnet.core.paths import leaves_with_paths, select
from funcnet.module.description import layout_of
from funcnet.module.functionalize import Functional
from funcnet.module.layout import Layout
from funcnet.module.module import Module
from funcnet.module.rewriting.parts import description_of
from funcnet.nn.wrappers.lora import LoRA
from funcnet.optim.masks import masks_like

__all__ = ["chosen_units", "kept_by_masks", "rows_of", "unit_masks", "whole_units"]


def unit_masks(
    module: Module | Functional,
    params: Params,
    amount: Amount,
    *,
    groups: UnitGroups | None = None,
    patterns: str | Iterable[str] = "*",
    norm: float = 2,
) -> PyTree:
    """Return masks of whole units: hidden units, channels or heads, with all that belongs to them in other layers.

    A unit is a row of a layer's weight with its number of the bias, of the norms that follow and with the columns
    that the next layer has for it. The units of the smallest weights go. What these masks make zero, `shrink` takes
    out, and outputs stay what they are.

    Args:
        module: a description.
        params: its parameters.
        amount: a fraction from 0.0 to 1.0, or a count; of each layer's units. At least one is kept.
        groups: layers to the layers that follow them, ``{"fc1": ["norm", "fc2"]}``, by names beside them or whole
            paths; the first may be a glob. By default what is known: chains of layers in `nn.Sequential`, hidden
            units of transformer layers, heads of attention layers.
        patterns: globs on the paths of the layers whose units are meant, among these.
        norm: which norm of a unit's weights counts.

    Returns:
        A tree like params of booleans, True for what is kept; None for arrays without units.

    Raises:
        ValueError: no layer is known to have units, a pattern matches none, or a group cannot be cut.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
        >>> params, _ = fn.functionalize(model).init(jax.random.key(0))
        >>> masks = fn.compression.unit_masks(model, params, 0.5)
        >>> masks["0"]["bias"].tolist() == masks["2"]["weight"][0].tolist()
        True

    Reference: Li et al., "Pruning Filters for Efficient ConvNets", 2017, https://arxiv.org/abs/1608.08710; Michel et
    al., "Are Sixteen Heads Really Better than One?", 2019, https://arxiv.org/abs/1905.10650
    """
    layout = layout_of(description_of(module))
    units = chosen_units(layout, groups, patterns)
    arrays = dict(leaves_with_paths(params))
    kept = {path: _kept_by_norm(layout, one, arrays, amount, norm) for path, one in units.items()}
    made = masks_of_units(layout, units, kept, arrays)
    return masks_like(params, made)


def whole_units(
    module: Module | Functional, params: Params, masks: PyTree, *, groups: UnitGroups | None = None
) -> PyTree:
    """Return masks that also leave out all that belongs to the rows that are masked as a whole.

    Args:
        module: a description.
        params: its parameters.
        masks: such as `structured_masks` makes of rows.
        groups: as of `unit_masks`.

    Returns:
        A tree like params, of the masks given and of those that follow from them.

    Raises:
        ValueError: no layer is known to have units, or a mask does not fit.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
        >>> params, _ = fn.functionalize(model).init(jax.random.key(0))
        >>> rows = fn.compression.structured_masks(model, params, 1, "rows", patterns="0")
        >>> int(fn.compression.whole_units(model, params, rows)["2"]["weight"].sum())
        9
    """
    layout = layout_of(description_of(module))
    units = chosen_units(layout, groups, "*")
    given = dict(leaves_with_paths(masks_like(params, masks)))
    kept = {path: kept_by_masks(layout, one, given) for path, one in units.items()}
    arrays = dict(leaves_with_paths(params))
    known = {path: one for path, one in kept.items() if one is not None}
    made = masks_of_units(layout, units, known, arrays)
    both = {path: made[path] & given[path] for path in made if path in given}
    return masks_like(params, given | made | both)


def chosen_units(
    layout: Layout, groups: UnitGroups | None, patterns: str | Iterable[str]
) -> dict[str, Units]:
    """Return the units of the layers whose paths match.

    Raises:
        ValueError: no layer has any, or a pattern matches none.
    """
    units = units_of(layout, groups)
    adapted = [path for path, layer in layout.modules.items() if isinstance(layer, LoRA)]
    if not units and adapted:
        raise ValueError(
            f"{', '.join(adapted[:12])} are adapted by nn.lora, and their units cannot go: merge first, params = "
            "nn.merge_lora(model, params), and go on with the model that was adapted"
        )
    if not units:
        raise ValueError(
            "no layer is known whose units go on to another layer alone: name them, as in "
            'groups={"fc1": ["fc2"]}, for a layer fc1 whose output goes through an activation into fc2. Layers whose '
            "weight is quantized or parametrized do not count: make it plain first"
        )
    names = select(patterns, units)
    return {path: one for path, one in units.items() if path in names}


def rows_of(values: Any, part: Part, stacked: int) -> Array:
    """Bring an array to ``(*stack, units, all that belongs to each)``."""
    front = jnp.moveaxis(jnp.asarray(values), stacked + part.axis, stacked)
    picked = jnp.take(front, jnp.asarray(part.places), axis=stacked)
    return picked.reshape(*picked.shape[: stacked + 1], -1)


def _kept_by_norm(
    layout: Layout, units: Units, arrays: Mapping[str, Any], amount: Amount, norm: float
) -> Array:
    """Say which units are kept, ``(*stack, units)``: those of the largest norms, and at least one."""
    parts = [part for part in units.parts if part.scored]
    stacked = len(layout.sizes[parts[0].path])
    rows = jnp.concatenate([rows_of(arrays[part.path], part, stacked) for part in parts], -1)
    scores = norms_of_rows(rows, norm)
    flat = scores.reshape(-1, units.number)
    kept = jax.vmap(lambda one: keep_highest(one, amount))(flat)
    best = jnp.argmax(flat, -1)[:, None] == jnp.arange(units.number)
    return (kept | best).reshape(scores.shape)


def kept_by_masks(layout: Layout, units: Units, masks: Mapping[str, Any]) -> Array | None:
    """Say which units masks leave anything of, ``(*stack, units)``; None if their weights have no mask."""
    parts = [part for part in units.parts if part.scored]
    if not any(part.path in masks for part in parts):
        return None
    stacked = len(layout.sizes[parts[0].path])
    left = [
        rows_of(masks[part.path], part, stacked).any(-1) for part in parts if part.path in masks
    ]
    return jnp.stack(left).any(0)


def masks_of_units(
    layout: Layout, units: Mapping[str, Units], kept: Mapping[str, Array], arrays: Mapping[str, Any]
) -> dict[str, Array]:
    """Return the masks of all arrays in which units lie."""
    made: dict[str, Array] = {}
    for path, keep in kept.items():
        for part in units[path].parts:
            if part.path in layout.parameters:
                mask = _spread(layout, part, keep, jnp.shape(arrays[part.path]))
                made[part.path] = made[part.path] & mask if part.path in made else mask
    return made


def _spread(layout: Layout, part: Part, keep: Array, shape: tuple[int, ...]) -> Array:
    """Return the mask of one array for which units are kept."""
    stacked = len(layout.sizes[part.path])
    units, times = part.places.shape
    owner = np.empty(units * times, int)
    owner[part.places] = np.arange(units)[:, None]
    along = jnp.take(keep, jnp.asarray(owner), axis=-1)
    wide = along.reshape(*along.shape, *[1] * (len(shape) - stacked - 1))
    return jnp.broadcast_to(jnp.moveaxis(wide, stacked, stacked + part.axis), shape)
