"""Sums and extremes of windows that move over an array."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number
from funcnet.export.operators.kernels import Rule, arithmetic, is_float, ordering, refuse, result_of
from funcnet.export.operators.slices import cut, padded

__all__ = ["WINDOWS"]

Join = Callable[[Graph, Sequence[Value]], Value]


def _reduce_window(join: Join, neutral: Callable[[np.dtype], float]) -> Rule:
    """One axis after the other: slices, each a step further on, are joined."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        (value,) = operands
        settings = settings_of(operation)
        shape, dtype = result_of(operation)
        filling = graph.scalar(neutral(dtype), dtype)
        if any(as_number(n) == 0 for n in shape) or any(as_number(n) == 0 for n in value.shape or ()):
            return [graph.expand(filling, shape)]
        wide = np.dtype(np.float32) if is_float(dtype) and dtype.itemsize == 2 else dtype
        value = _known(graph, graph.cast(value, wide), value.shape)
        value = padded(graph, value, graph.cast(filling, wide), _room(operation, settings))
        for axis, size in enumerate(settings["window_dimensions"]):
            step, apart = settings["window_strides"][axis], settings["window_dilation"][axis]
            value = _along(graph, value, axis, (int(size), int(step), int(apart)), shape[axis], join)
        return [graph.cast(value, dtype)]

    return rule


def _known(graph: Graph, value: Value, shape: Any) -> Value:
    return Value(graph.use(value), shape, value.dtype)


def _room(operation: Operation, settings: dict[str, Any]) -> list[tuple[int, int, int]]:
    pads = [tuple(map(as_number, pair)) for pair in settings["padding"]]
    if any(None in pair for pair in pads):
        raise refuse(operation, "padding that depends on an open length")
    return [
        (int(low or 0), int(high or 0), int(by) - 1)
        for (low, high), by in zip(pads, settings["base_dilation"], strict=True)
    ]


def _along(
    graph: Graph, value: Value, axis: int, window: tuple[int, int, int], length: Any, join: Join
) -> Value:
    """Join the numbers of windows along one axis; in each slice there are ``length``, ``step`` apart."""
    size, step, apart = window
    if size == 1 and step == 1:
        return value
    parts = []
    for place in range(size):
        start = place * apart
        end = start + (length - 1) * step + 1
        parts.append(cut(graph, value, [axis], [start], [end], [step]))
    return join(graph, parts)


def _sum_of(graph: Graph, parts: Sequence[Value]) -> Value:
    made = parts[0]
    for each in parts[1:]:
        made = arithmetic(graph, "Add", [made, each])
    return made


def _extreme_of(op_type: str) -> Join:
    def join(graph: Graph, parts: Sequence[Value]) -> Value:
        return ordering(graph, op_type, parts) if len(parts) > 1 else parts[0]

    return join


def _smallest(dtype: np.dtype) -> float:
    return -np.inf if is_float(dtype) else np.iinfo(dtype).min


def _largest(dtype: np.dtype) -> float:
    return np.inf if is_float(dtype) else np.iinfo(dtype).max


WINDOWS: dict[str, Rule] = {
    "reduce_window_max": _reduce_window(_extreme_of("Max"), _smallest),
    "reduce_window_min": _reduce_window(_extreme_of("Min"), _largest),
    "reduce_window_sum": _reduce_window(_sum_of, lambda dtype: 0),
}
"""Rules by kind of operation."""
