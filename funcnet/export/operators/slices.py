"""Parts of an array, at places that are known or computed, and room around it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number
from funcnet.export.operators.kernels import Rule, moved_as, shape_of

__all__ = ["SLICES"]

_END = np.iinfo(np.int64).max


def cut(
    graph: Graph,
    value: Value,
    axes: Sequence[int],
    starts: Sequence[Any],
    ends: Sequence[Any],
    steps: Sequence[int] | None = None,
) -> Value:
    """Slice along some axes; lengths may be open."""
    if not axes:
        return value
    inputs = [value, graph.dims(starts), graph.dims(ends), graph.ints(axes)]
    if steps is not None and any(step != 1 for step in steps):
        inputs.append(graph.ints(steps))
    return graph.node("Slice", inputs)


def _slice(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    settings = settings_of(operation)
    (value,) = operands
    starts, limits = settings["start_indices"], settings["limit_indices"]
    steps = settings["strides"] or (1,) * len(starts)
    shape = shape_of(value)
    axes = [
        i
        for i in range(len(starts))
        if not (_is(starts[i], 0) and steps[i] == 1 and _is(limits[i], shape[i]))
    ]
    chosen = [[each[i] for i in axes] for each in (starts, limits, steps)]
    return [cut(graph, value, axes, *chosen)]


def _is(left: Any, right: Any) -> bool:
    return bool(left == right)


def _reverse(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    axes = settings_of(operation)["dimensions"]
    count = len(axes)
    last, before = [-1] * count, [-_END] * count
    return [cut(graph, operands[0], axes, last, before, [-1] * count)]


# ---- padding -------------------------------------------------------------------------------------


def _pad(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    value, filling = operands
    config = settings_of(operation)["padding_config"]
    return [padded(graph, value, filling, config)]


def padded(
    graph: Graph, value: Value, filling: Value, config: Sequence[tuple[Any, Any, Any]]
) -> Value:
    """Put room before, behind and between the numbers of each axis; less than none behind or before cuts.

    Args:
        graph: where.
        value: with its shape.
        filling: one number.
        config: before, behind, between, for each axis.
    """
    between = [int(each[2]) for each in config]
    if any(between):
        value = _spread(graph, value, filling, between)
    before = [max(int(each[0]), 0) for each in config]
    behind = [max(int(each[1]), 0) for each in config]
    if any(before) or any(behind):
        value = _with_room(graph, value, filling, [*before, *behind])
    axes = [i for i, each in enumerate(config) if each[0] < 0 or each[1] < 0]
    starts = [max(-int(config[i][0]), 0) for i in axes]
    ends = [int(config[i][1]) if config[i][1] < 0 else _END for i in axes]
    return cut(graph, value, axes, starts, ends)


def _with_room(graph: Graph, value: Value, filling: Value, pads: Sequence[int]) -> Value:
    """Pad, through a dtype in which ONNX Runtime does."""
    own = value.dtype
    via = moved_as(own)
    cast = [graph.cast(each, via) for each in (value, filling)]
    return graph.cast(graph.node("Pad", [cast[0], graph.ints(pads), cast[1]]), own)


def _spread(graph: Graph, value: Value, filling: Value, between: Sequence[int]) -> Value:
    """Put room behind each number, and cut the last: an axis of its own is padded, then joined to the number's."""
    shape = list(shape_of(value))
    axes = [i for i, room in enumerate(between) if room]
    for axis in reversed(axes):
        split = [*shape[: axis + 1], 1, *shape[axis + 1 :]]
        value = graph.reshape(value, split)
        pads = [0] * len(split) + [between[axis] if i == axis + 1 else 0 for i in range(len(split))]
        value = _with_room(graph, value, filling, pads)
        shape[axis] = shape[axis] * (between[axis] + 1)
        value = graph.reshape(value, shape)
        value = cut(graph, value, [axis], [0], [-between[axis]])
        shape[axis] = shape[axis] - between[axis] if not _is(shape[axis], 0) else 0
        value = Value(value.name, tuple(shape), value.dtype)
    return value


# ---- places that are computed ---------------------------------------------------------------------


def clamped_start(graph: Graph, start: Value, length: Any, size: Any) -> Value:
    """Move a start so that a slice lies within an axis: a scalar of int64."""
    room = length - size
    start = graph.cast(start, np.int64) if start.array is None else graph.scalar(start.array)
    if start.array is not None and as_number(room) is not None:
        return graph.scalar(np.clip(start.array, 0, room))
    low = graph.node("Max", [start, graph.scalar(0)], shape=())
    return graph.node("Min", [low, graph.length(room)], shape=())


def _vector(graph: Graph, scalars: Sequence[Value]) -> Value:
    if all(each.array is not None for each in scalars):
        return graph.ints([int(each.array) for each in scalars])
    parts = [graph.unsqueeze(each, [0]) for each in scalars]
    return graph.node("Concat", parts, axis=0) if len(parts) > 1 else parts[0]


def _dynamic_slice(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    value, *starts = operands
    sizes = settings_of(operation)["slice_sizes"]
    shape = shape_of(value)
    axes = [i for i in range(len(shape)) if not _is(shape[i], sizes[i])]
    if not axes:
        return [value]
    begin = _vector(graph, [clamped_start(graph, starts[i], shape[i], sizes[i]) for i in axes])
    end = graph.node("Add", [begin, graph.dims([sizes[i] for i in axes])])
    return [graph.node("Slice", [value, begin, end, graph.ints(axes)])]


def _dynamic_update_slice(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    value, update, *starts = operands
    sizes = shape_of(update)
    shape = shape_of(value)
    axes = [i for i in range(len(shape)) if not _is(shape[i], sizes[i])]
    places = {i: clamped_start(graph, starts[i], shape[i], sizes[i]) for i in axes}
    return [_updated(graph, value, update, sizes, places)]


def _updated(
    graph: Graph, value: Value, update: Value, sizes: Sequence[Any], places: dict[int, Value]
) -> Value:
    """Join what is before, the new part, and what is behind, one axis after the other."""
    if not places:
        return update
    (axis, begin), *rest = places.items()
    begin = graph.unsqueeze(begin, [0]) if begin.array is None else graph.ints([int(begin.array)])
    end = graph.node("Add", [begin, graph.dims([sizes[axis]])])
    along = graph.ints([axis])
    before = graph.node("Slice", [value, graph.ints([0]), begin, along])
    behind = graph.node("Slice", [value, end, graph.ints([_END]), along])
    if rest:
        middle = graph.node("Slice", [value, begin, end, along])
        update = _updated(graph, middle, update, sizes, dict(rest))
    return graph.node("Concat", [before, update, behind], axis=axis)


SLICES: dict[str, Rule] = {
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "pad": _pad,
    "rev": _reverse,
    "slice": _slice,
}
"""Rules by kind of operation."""
