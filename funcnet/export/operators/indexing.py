"""Gather and scatter, with all that JAX's dimension numbers can say and its ways with places outside.

What one operator of ONNX does (rows of a table, one number of each row) is written with it. All else is done on the
array laid out flat: the place of each number is a sum of products of places and strides.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number
from funcnet.export.operators.conversions import counted
from funcnet.export.operators.kernels import (
    Rule,
    arithmetic,
    choose,
    is_float,
    refuse,
    result_of,
    shape_of,
    stand_in,
)

__all__ = ["INDEXING"]


class Places:
    """Where the windows of a gather or scatter begin: one scalar or array of int64 for each axis that is indexed.

    Args:
        graph: where nodes are added.
        indices: the last axis holds one number for each of ``axes``.
        axes: of the operand.
        highest: for each of ``axes`` the last place where a window still fits.
        mode: ``"clip"`` moves windows inside; otherwise `inside` says which are.
    """

    def __init__(
        self, graph: Graph, indices: Value, axes: Sequence[int], highest: Sequence[Any], mode: str
    ):
        self.graph = graph
        self.inside: Value | None = None
        self.starts: dict[int, Value] = {}
        for number, (axis, high) in enumerate(zip(axes, highest, strict=True)):
            start = self._component(indices, number, len(axes))
            if not self._surely_inside(start, high):
                if mode != "clip":
                    self._note_outside(start, high)
                start = self._clipped(start, high)
            self.starts[axis] = start

    def _component(self, indices: Value, number: int, count: int) -> Value:
        graph, last = self.graph, indices.ndim - 1
        if indices.array is not None:
            return graph.constant(np.asarray(indices.array)[..., number].astype(np.int64))
        wide = graph.cast(indices, np.int64)
        if count == 1:
            return graph.squeeze(wide, [last])
        return graph.node("Gather", [wide, graph.scalar(number)], axis=last)

    def _surely_inside(self, start: Value, high: Any) -> bool:
        if start.array is None or as_number(high) is None:
            return False
        return bool(np.all((start.array >= 0) & (start.array <= high)))

    def _clipped(self, start: Value, high: Any) -> Value:
        low = self.graph.node("Max", [start, self.graph.scalar(0)])
        return self.graph.node("Min", [low, self.graph.length(high)])

    def _note_outside(self, start: Value, high: Any) -> None:
        graph = self.graph
        tests = [
            graph.node("GreaterOrEqual", [start, graph.scalar(0)], dtype=np.bool_),
            graph.node("LessOrEqual", [start, graph.length(high)], dtype=np.bool_),
        ]
        for test in tests:
            self.inside = test if self.inside is None else graph.node("And", [self.inside, test])


# ---- gather --------------------------------------------------------------------------------------


def _gather(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    value, indices = operands
    settings = settings_of(operation)
    sizes, lengths = settings["slice_sizes"], shape_of(value)
    axes = settings["start_index_map"]
    places = Places(graph, indices, axes, [lengths[i] - sizes[i] for i in axes], settings["mode"])
    shape, dtype = result_of(operation)
    if any(as_number(n) == 0 for n in lengths):  # there is nothing to take from
        return [_filled(graph, settings, shape, dtype)]
    if _takes_rows(settings, lengths):
        made = _rows(graph, value, places, settings["offset_dims"], len(shape))
    elif _takes_one_of_each(settings, value, indices):
        (axis,) = axes
        made = graph.node("GatherElements", [value, places.starts[axis]], axis=axis)
    else:
        made = _flat_gather(graph, value, places, settings, shape)
    if places.inside is not None:
        inside = graph.unsqueeze(places.inside, settings["offset_dims"])
        filling = graph.scalar(_filling(settings["fill_value"], dtype), dtype)
        made = _where(graph, inside, made, filling)
    return [made]


def _where(graph: Graph, test: Value, yes: Value, no: Value) -> Value:
    if yes.dtype == np.bool_:
        return graph.cast(
            choose(graph, test, *(graph.cast(each, np.int32) for each in (yes, no))), np.bool_
        )
    return choose(graph, test, yes, no)


def _filling(given: Any, dtype: Any) -> Any:
    """Say what JAX puts where an index is outside, unless it is told."""
    if given is not None:
        return given
    if dtype == np.bool_:
        return True
    if is_float(dtype):
        return np.nan
    info = jnp.iinfo(dtype)
    return info.min if info.min < 0 else info.max


def _filled(graph: Graph, settings: dict[str, Any], shape: Sequence[Any], dtype: Any) -> Value:
    return graph.expand(graph.scalar(_filling(settings["fill_value"], dtype), dtype), shape)


def _takes_rows(settings: dict[str, Any], lengths: Sequence[Any]) -> bool:
    """Whether one axis is indexed, and all others are taken whole."""
    axes = settings["start_index_map"]
    if (
        len(axes) != 1
        or settings["collapsed_slice_dims"] != axes
        or settings["operand_batching_dims"]
    ):
        return False
    sizes = settings["slice_sizes"]
    return all(i == axes[0] or sizes[i] == lengths[i] for i in range(len(lengths)))


def _rows(graph: Graph, value: Value, places: Places, offsets: Sequence[int], ndim: int) -> Value:
    """Gather; its new axes lie where the indexed one was, and are moved where JAX has them."""
    ((axis, start),) = places.starts.items()
    made = graph.node("Gather", [value, start], axis=axis)
    others = [i for i in range(ndim) if i not in offsets]
    natural = [*offsets[:axis], *others, *offsets[axis:]]
    order = [natural.index(i) for i in range(ndim)]
    return made if order == list(range(ndim)) else graph.node("Transpose", [made], perm=order)


def _takes_one_of_each(settings: dict[str, Any], value: Value, indices: Value) -> bool:
    """Whether along one axis numbers are taken, and all other axes run in step: what take_along_axis makes."""
    axes, others = settings["start_index_map"], settings["operand_batching_dims"]
    return (
        len(axes) == 1
        and settings["collapsed_slice_dims"] == axes
        and others == tuple(i for i in range(value.ndim) if i != axes[0])
        and settings["start_indices_batching_dims"] == others
        and indices.ndim == value.ndim + 1
    )


def _flat_gather(
    graph: Graph,
    value: Value,
    places: Places,
    settings: dict[str, Any],
    shape: Sequence[Any],
) -> Value:
    lengths = shape_of(value)
    within = [
        i
        for i in range(len(lengths))
        if i not in settings["collapsed_slice_dims"] and i not in settings["operand_batching_dims"]
    ]
    windows = dict(zip(within, settings["offset_dims"], strict=True))
    batching = dict(
        zip(settings["operand_batching_dims"], settings["start_indices_batching_dims"], strict=True)
    )
    flat = flat_places(graph, lengths, places, windows, batching, shape)
    everything = graph.reshape(value, [prod(lengths)])
    return graph.node("Gather", [everything, graph.expand(flat, shape)], axis=0)


def flat_places(
    graph: Graph,
    lengths: Sequence[Any],
    places: Places,
    windows: dict[int, int],
    batching: dict[int, int],
    shape: Sequence[Any],
) -> Value:
    """Find where numbers of windows lie in an array that is laid out flat.

    Args:
        graph: where nodes are added.
        lengths: of the array.
        places: where windows begin.
        windows: from axes of the array that windows run along to axes of ``shape``.
        batching: from axes of the array that run in step with the indices to axes of those.
        shape: of what is found.
    """
    ndim, offsets = len(shape), list(windows.values())
    others = [i for i in range(ndim) if i not in offsets]
    total: Value | None = None

    def add(axis: int, part: Value) -> None:
        nonlocal total
        stride = prod(lengths[axis + 1 :])
        if as_number(stride) != 1:
            part = graph.node("Mul", [part, graph.length(stride)])
        total = part if total is None else graph.node("Add", [total, part])

    def along(place: int) -> Value:
        numbers = counted(graph, shape[place], np.dtype(np.int64))
        return graph.unsqueeze(numbers, [i for i in range(ndim) if i != place])

    for axis, start in places.starts.items():
        add(axis, graph.unsqueeze(start, offsets))
    for axis, place in windows.items():
        if as_number(shape[place]) != 1:
            add(axis, along(place))
    for axis, place in batching.items():
        add(axis, along(others[place]))
    return total if total is not None else graph.scalar(0)


# ---- scatter -------------------------------------------------------------------------------------


def _scatter(reduction: str | None) -> Rule:
    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        value, indices, updates = operands
        settings = settings_of(operation)
        if settings.get("applies"):
            raise refuse(operation, "a scatter that applies a function of one's own")
        if reduction == "sub":
            negated = arithmetic(graph, "Neg", [updates])
            updates = Value(negated.name, updates.shape, updates.dtype)
        kind = "add" if reduction == "sub" else reduction
        return [_scattered(graph, value, indices, updates, settings, kind)]

    return rule


def _scattered(
    graph: Graph,
    value: Value,
    indices: Value,
    updates: Value,
    settings: dict[str, Any],
    reduction: str | None,
) -> Value:
    lengths, shape = shape_of(value), shape_of(updates)
    if any(as_number(n) == 0 for n in (*lengths, *shape)):
        return value
    single = (*settings["inserted_window_dims"], *settings["operand_batching_dims"])
    within = [i for i in range(len(lengths)) if i not in single]
    windows = dict(zip(within, settings["update_window_dims"], strict=True))
    axes = settings["scatter_dims_to_operand_dims"]
    highest = [lengths[i] - (shape[windows[i]] if i in windows else 1) for i in axes]
    places = Places(graph, indices, axes, highest, settings["mode"])
    batching = dict(
        zip(
            settings["operand_batching_dims"],
            settings["scatter_indices_batching_dims"],
            strict=True,
        )
    )
    flat = flat_places(graph, lengths, places, windows, batching, shape)
    count = prod(lengths)
    if (
        places.inside is not None
    ):  # what lies outside goes to a place behind the last, which is cut off
        inside = graph.unsqueeze(places.inside, settings["update_window_dims"])
        flat = graph.node("Where", [inside, flat, graph.length(count)], dtype=np.int64)
    flat = graph.reshape(graph.expand(flat, shape), [prod(shape)])
    numbers = graph.reshape(value, [count])
    if places.inside is not None:
        spare = graph.expand(graph.scalar(0, value.dtype), [1])
        numbers = graph.node("Concat", [numbers, spare], axis=0)
    made = _reduced(graph, numbers, flat, graph.reshape(updates, [prod(shape)]), reduction)
    if places.inside is not None:
        made = graph.node("Slice", [made, graph.ints([0]), graph.dims([count])])
    return graph.reshape(made, lengths)


def _reduced(
    graph: Graph, value: Value, places: Value, updates: Value, reduction: str | None
) -> Value:
    """ScatterElements, in a dtype where its sums, products and extremes are right."""
    if reduction is None:
        return graph.node("ScatterElements", [value, places, updates], axis=0)
    extreme, own = reduction in ("min", "max"), value.dtype
    into, back = stand_in(graph, own, ordered=extreme)
    pair = [into(value), into(updates)]
    made = graph.node("ScatterElements", [pair[0], places, pair[1]], axis=0, reduction=reduction)
    if is_float(own) and extreme:
        made = _with_strange(graph, made, pair, places)
    return back(made)


def _with_strange(graph: Graph, made: Value, pair: Sequence[Value], places: Value) -> Value:
    """Extremes of ONNX Runtime forget NaN: count which numbers got one."""
    counts = [graph.cast(graph.node("IsNaN", [each], dtype=np.bool_), np.int32) for each in pair]
    total = graph.node("ScatterElements", [counts[0], places, counts[1]], axis=0, reduction="add")
    strange = graph.cast(total, np.bool_)
    return choose(graph, strange, graph.scalar(np.nan, made.dtype), made)


INDEXING: dict[str, Rule] = {
    "gather": _gather,
    "scatter": _scatter(None),
    "scatter_add": _scatter("add"),
    "scatter_max": _scatter("max"),
    "scatter_min": _scatter("min"),
    "scatter_mul": _scatter("mul"),
    "scatter_sub": _scatter("sub"),
}
"""Rules by kind of operation."""
