"""Rule tables: from patterns on dotted paths to the place of each array, and everything that can be wrong with them."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from jax.sharding import Mesh, PartitionSpec

from funcnet.core.paths import matches
from funcnet.module.layout import Layout
from funcnet.module.sharding.placement import ShardedArray
from funcnet.module.specs import Spec
from funcnet.parallel.pipeline.repeat import stack_axes
from funcnet.parallel.rules.places import (
    Copies,
    Fsdp,
    Output,
    as_spec,
    data_axis,
    names_in,
    parts_of,
    spread_further,
    trimmed,
)

__all__ = ["Rules", "join_rules", "placed_arrays", "placed_outputs"]

Rules = Mapping[str, Any]
"""Patterns on dotted paths, to places; see `shard`."""


def join_rules(*tables: Rules) -> dict[str, Any]:
    """Join rule tables: what the first says comes first.

    Args:
        *tables: rules of `shard`, or those of rule sets such as `tensor_parallel`.

    Returns:
        One table.

    Raises:
        ValueError: two of them say different things under one pattern.

    Example:
        >>> fn.parallel.join_rules({"*.bias": None}, {"*": "fsdp"})
        {'*.bias': None, '*': 'fsdp'}
    """
    joined: dict[str, Any] = {}
    for table in tables:
        for pattern, place in table.items():
            if pattern in joined and joined[pattern] != place:
                raise ValueError(
                    f"two rule tables disagree on {pattern!r}: {joined[pattern]!r} and {place!r}. Leave it out of one, "
                    "or write the one that is meant in a table of its own, and join the others without it"
                )
            joined[pattern] = place
    return joined


def placed_arrays(
    mesh: Mesh, rules: Rules, layout: Layout, specs: Mapping[str, Spec]
) -> dict[str, ShardedArray]:
    """Give each array of a layout the place of the first pattern that matches its path.

    Args:
        mesh: the devices.
        rules: patterns to places.
        layout: of the module.
        specs: by path, with complete shapes, of one layer of a stack.

    Raises:
        ValueError: a pattern matches nothing, or only what earlier ones match; a place does not fit its array.
    """
    patterns = [pattern for pattern, place in rules.items() if not isinstance(place, Output)]
    owners = _owners(patterns, list(specs), "array", _aliases(layout))
    arrays = {}
    for path, spec in specs.items():
        pattern = owners[path]
        place = rules[pattern] if pattern is not None else None
        stacked = layout.sizes[path]
        who = f"the rule {pattern!r} for {path}"
        stacks = stack_axes(mesh, layout, path)
        stored, computed = _placed_in_stack(mesh, place, stacks, stacked, spec.sizes, who)
        shape = (*stacked, *spec.sizes)
        arrays[path] = ShardedArray(shape, spec.dtype, stored, computed, pattern or "")
    return arrays


def placed_outputs(mesh: Mesh, rules: Rules, layout: Layout) -> dict[str, PartitionSpec]:
    """Give each module the place of the first pattern of an output that matches its path.

    Raises:
        ValueError: a pattern matches no module, or only what earlier ones match; an axis the mesh has not.
    """
    patterns = [pattern for pattern, place in rules.items() if isinstance(place, Output)]
    for pattern in patterns:
        _check_axes(mesh, rules[pattern].spec, f"the rule {pattern!r}")
    owners = _owners(patterns, list(layout.modules), "module", {})
    return {path: rules[pattern].spec for path, pattern in owners.items() if pattern is not None}


def _owners(
    patterns: list[str], paths: list[str], kind: str, aliases: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the first pattern that matches each path."""
    owners = {path: next((p for p in patterns if matches(p, path)), None) for path in paths}
    for pattern in patterns:
        found = [path for path in paths if matches(pattern, path)]
        if not found:
            tied = next((name for name in aliases if matches(pattern, name)), None)
            if tied is not None:
                raise ValueError(
                    f"the rule {pattern!r} matches no {kind}: {tied} is another name of {aliases[tied]}; write that"
                )
            shown = ", ".join(path for path in paths[:12] if path) + ", …" * (len(paths) > 12)
            raise ValueError(
                f"the rule {pattern!r} matches no {kind}; there are: {shown or 'none'}"
            )
        takers = sorted({str(owners[path]) for path in found} - {pattern})
        if all(owners[path] != pattern for path in found):
            raise ValueError(
                f"the rule {pattern!r} never applies: all that it matches ({', '.join(found[:5])}) is matched by "
                f"earlier rules ({', '.join(map(repr, takers))}). The first match wins: put it before them, or drop it"
            )
    return owners


def _aliases(layout: Layout) -> dict[str, str]:
    """Return the other names of tied arrays."""
    return {
        name: path for path, known in layout.names.items() for names in known[1:] for name in names
    }


def _placed_in_stack(
    mesh: Mesh,
    place: Any,
    stages: list[str | None],
    stacked: tuple[int, ...],
    shape: tuple[int, ...],
    who: str,
) -> tuple[PartitionSpec, PartitionSpec]:
    """Return how an array with stack axes, some of them stages of a pipeline, is kept and how computation takes it."""
    front: list[Any] = list(stages)
    axis = None
    if isinstance(place, Copies):
        axis, place = place.axis, place.place
        if not stacked:
            raise ValueError(
                f"{who}: copies({axis!r}) spreads the copies of nn.Vmap or nn.MixtureOfExperts, and this array, of "
                f"shape {shape}, is no stack: write a tuple with an entry for each dimension"
            )
        if front[-1] is not None:
            raise ValueError(
                f"{who}: copies({axis!r}) would spread blocks that are stages of a pipeline, over {front[-1]!r} already"
            )
        _check_axes(mesh, PartitionSpec(axis), who)
        _check_shape(mesh, PartitionSpec(axis), stacked[-1:], who)
        front[-1] = axis
    specs = _placed(mesh, place, shape, who)
    whole = [PartitionSpec(*front, *spec) if spec else trimmed(front) for spec in specs]
    if any(front):
        _check_axes(mesh, whole[0], who)
    return whole[0], whole[1]


def _placed(
    mesh: Mesh, place: Any, shape: tuple[int, ...], who: str
) -> tuple[PartitionSpec, PartitionSpec]:
    """Return how an array is kept, and how computation takes it."""
    if isinstance(place, str):
        if place != "fsdp":
            raise TypeError(
                f"{who}: the only word is 'fsdp'; got {place!r}. To spread the first dimension over the axis "
                f"{place!r}, write ({place!r},)"
            )
        place = Fsdp()
    beside = as_spec(place.place if isinstance(place, Fsdp) else place)
    _check_axes(mesh, beside, who)
    _check_shape(mesh, beside, shape, who)
    if not isinstance(place, Fsdp):
        return beside, beside
    axis = data_axis(mesh)
    if axis in names_in(beside):
        raise ValueError(
            f"{who}: {place!r} spreads over the axis {axis!r} twice: leave it out of the tuple"
        )
    if math.prod(shape) < place.smallest:
        return beside, beside
    return spread_further(mesh, beside, shape, axis), beside


def _check_axes(mesh: Mesh, spec: PartitionSpec, who: str) -> None:
    names = names_in(spec)
    unknown = [name for name in names if name not in mesh.axis_names]
    if unknown:
        raise ValueError(
            f"{who}: the mesh has no axis {unknown[0]!r}; it has {', '.join(map(repr, mesh.axis_names))}"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{who}: {tuple(spec)} uses the axis {twice[0]!r} twice; an array can be spread over an axis once"
        )


def _check_shape(mesh: Mesh, spec: PartitionSpec, shape: tuple[int, ...], who: str) -> None:
    if len(spec) > len(shape):
        raise ValueError(
            f"{who}: {tuple(spec)} has {len(spec)} entries, and the array has shape {shape}"
        )
    for number, (entry, length) in enumerate(zip(spec, shape, strict=False)):
        parts = parts_of(mesh, entry)
        if length % parts:
            raise ValueError(
                f"{who}: dimension {number} of shape {shape} does not divide into {parts} parts (axis {entry!r}): "
                "choose another dimension, a size that divides, or None to keep it whole"
            )
