"""The same numbers in another shape or order, repeated, joined or cut."""

from collections.abc import Sequence
from typing import Any

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.operators.kernels import Rule, refuse, result_of, shape_of

__all__ = ["SHAPES"]


def _reshape(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    if settings_of(operation).get("dimensions") is not None:
        raise refuse(operation, "a reshape that reads axes in another order")
    shape, _ = result_of(operation)
    return [graph.reshape(operands[0], shape)]


def _broadcast_in_dim(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Axes of length 1 where they are new, then repeated; elementwise operators take it before that."""
    shape, _ = result_of(operation)
    places = settings_of(operation)["broadcast_dimensions"]
    value = operands[0]
    lengths: list[Any] = [1] * len(shape)
    for place, length in zip(places, shape_of(value), strict=True):
        lengths[place] = length
    narrow = graph.unsqueeze(value, [i for i in range(len(shape)) if i not in places])
    narrow = Value(narrow.name, tuple(lengths), narrow.dtype, narrow.array, narrow.weight)
    if tuple(lengths) == shape:
        return [narrow]
    full = graph.expand(narrow, shape)
    full.narrow = narrow
    return [full]


def _transpose(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    return [graph.transpose(operands[0], settings_of(operation)["permutation"])]


def _concatenate(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    if len(operands) == 1:
        return operands
    return [graph.node("Concat", operands, axis=settings_of(operation)["dimension"])]


def _squeeze(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    return [graph.squeeze(operands[0], settings_of(operation)["dimensions"])]


def _expand_dims(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    return [graph.unsqueeze(operands[0], settings_of(operation)["dimensions"])]


def _split(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    settings = settings_of(operation)
    sizes = settings["sizes"]
    if len(sizes) == 1:
        return operands
    return graph.node("Split", [operands[0], graph.dims(sizes)], len(sizes), axis=settings["axis"])


def _stack(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    axis = settings_of(operation)["axis"]
    parts = [graph.unsqueeze(each, [axis]) for each in operands]
    return [graph.node("Concat", parts, axis=axis) if len(parts) > 1 else parts[0]]


def _unstack(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    axis, count = settings_of(operation)["axis"], len(operation.results)
    if not count:
        return []
    parts: Sequence[Value] = operands
    if count > 1:
        parts = graph.node("Split", [operands[0], graph.ints([1] * count)], count, axis=axis)
    return [graph.squeeze(each, [axis]) for each in parts]


def _tile(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    repeats = settings_of(operation)["reps"]
    return [graph.node("Tile", [operands[0], graph.dims(repeats)])]


SHAPES: dict[str, Rule] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "expand_dims": _expand_dims,
    "reshape": _reshape,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
    "unstack": _unstack,
}
"""Rules by kind of operation."""
