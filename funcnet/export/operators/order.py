"""Sorting, the largest few, and where the largest is."""

import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.operators.kernels import (
    Rule,
    choose,
    is_float,
    ordering,
    result_of,
    shape_of,
    stand_in,
)

__all__ = ["ORDER"]


def _place_of_extreme(op_type: str) -> Rule:
    """Find the first place of the largest or smallest; of the first NaN, if there is one."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        (value,) = operands
        settings = settings_of(operation)
        (axis,), dtype = settings["axes"], settings["index_dtype"]
        found = ordering(graph, op_type, [value], dtype=np.int64, axis=axis, keepdims=0)
        if is_float(value.dtype):
            strange = graph.node("IsNaN", [value], dtype=np.bool_)
            strange = graph.cast(strange, np.int32)
            first = graph.node("ArgMax", [strange], dtype=np.int64, axis=axis, keepdims=0)
            some = graph.node("ReduceMax", [strange, graph.ints([axis])], keepdims=0)
            found = choose(graph, graph.cast(some, np.bool_), first, found)
        return [graph.cast(found, dtype)]

    return rule


def _stable_order(graph: Graph, key: Value, axis: int, count: Value, largest: bool) -> Value:
    """Find the places of numbers in order, equal ones as they lie; NaN must not be among them."""
    into, _ = stand_in(graph, key.dtype, ordered=True)
    _, places = graph.node(
        "TopK", [into(key), count], 2, dtype=np.int64, axis=axis, largest=int(largest), sorted=1
    )
    return places


def _ordered(graph: Graph, key: Value, axis: int, count: Value, largest: bool = False) -> Value:
    """Find the order of one array, NaN as the largest of all: sorted by value, then by whether it is NaN."""
    if not is_float(key.dtype):
        return _stable_order(graph, key, axis, count, largest)
    strange = graph.node("IsNaN", [key], dtype=np.bool_)
    plain = choose(graph, strange, graph.scalar(0, key.dtype), key)
    first = _stable_order(graph, plain, axis, count, largest)
    flags = _taken(graph, graph.cast(strange, np.int32), first, axis)
    second = _stable_order(graph, flags, axis, count, largest)
    return _taken(graph, first, second, axis)


def _taken(graph: Graph, value: Value, places: Value, axis: int) -> Value:
    return graph.node("GatherElements", [value, places], axis=axis)


def _sort(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """By the last key first: each order keeps the one before among equals."""
    settings = settings_of(operation)
    axis, keys = settings["dimension"], settings["num_keys"]
    count = graph.dims([shape_of(operands[0])[axis]])
    order: Value | None = None
    for key in reversed(operands[:keys]):
        moved = key if order is None else _taken(graph, key, order, axis)
        moved = Value(graph.use(moved), key.shape, key.dtype, moved.array)
        own = _ordered(graph, moved, axis, count)
        order = own if order is None else _taken(graph, order, own, axis)
    assert order is not None
    return [_taken(graph, each, order, axis) for each in operands]


def _top_k(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    (value,) = operands
    settings = settings_of(operation)
    axis = settings.get("axis", value.ndim - 1) % value.ndim
    (_, dtype) = result_of(operation, 1)
    count = graph.dims([shape_of(value)[axis]])
    places = _ordered(graph, value, axis, count, largest=True)
    ends = [graph.ints([0]), graph.dims([settings["k"]]), graph.ints([axis])]
    places = graph.node("Slice", [places, *ends])
    return [_taken(graph, value, places, axis), graph.cast(places, dtype)]


ORDER: dict[str, Rule] = {
    "argmax": _place_of_extreme("ArgMax"),
    "argmin": _place_of_extreme("ArgMin"),
    "sort": _sort,
    "top_k": _top_k,
}
"""Rules by kind of operation."""
