"""Sums, products and extremes: of whole axes, running along one, and of windows."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number
from funcnet.export.operators.kernels import (
    Rule,
    arithmetic,
    choose,
    is_float,
    ordering,
    refuse,
    result_of,
    shape_of,
)
from funcnet.export.operators.slices import cut, padded

__all__ = ["REDUCTIONS"]


def _wider(graph: Graph, value: Value) -> Value:
    """16 bits are summed in 32, as XLA does."""
    return (
        graph.cast(value, np.float32)
        if value.dtype.itemsize == 2 and is_float(value.dtype)
        else value
    )


def _of_floats(op_type: str, of_whole_numbers: Rule) -> Rule:
    """Reduce floats by an operator, which computes in float64 whatever comes, and whole numbers in another way."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        (value,) = operands
        axes = settings_of(operation)["axes"]
        if not axes:
            return operands
        if not is_float(value.dtype):
            return list(of_whole_numbers(graph, operation, operands))
        made = graph.node(op_type, [_wider(graph, value), graph.ints(axes)], keepdims=0)
        return [graph.cast(made, value.dtype)]

    return rule


_EXACT = 1 << 20
"""So many numbers of 32 bits have a sum that float64 holds."""


def _whole_sum(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Sum whole numbers so that they wrap: as float64 while that is exact, else as a product with ones."""
    (value,) = operands
    axes, (shape, dtype) = settings_of(operation)["axes"], result_of(operation)
    lengths = shape_of(value)
    count = prod(lengths[i] for i in axes)
    wide = graph.cast(value, np.int64)
    if dtype.itemsize < 8 and (as_number(count) or _EXACT) < _EXACT:
        made = graph.node("ReduceSum", [wide, graph.ints(axes)], keepdims=0)
        return [graph.cast(made, dtype)]
    kept = [i for i in range(len(lengths)) if i not in axes]
    moved = graph.transpose(Value(graph.use(wide), lengths, wide.dtype), [*kept, *axes])
    rows = graph.reshape(moved, [*shape, count])
    made = graph.node("MatMul", [rows, graph.expand(graph.scalar(1), [count])])
    return [graph.cast(made, dtype)]


def _whole_product(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Multiply whole numbers half by half, so that they wrap."""
    (value,) = operands
    axes, (shape, _) = settings_of(operation)["axes"], result_of(operation)
    lengths = shape_of(value)
    count = as_number(prod(lengths[i] for i in axes))
    if count is None:
        raise refuse(operation, "of whole numbers along an axis whose length is open")
    if not count:
        return [graph.expand(graph.scalar(1, value.dtype), shape)]
    value = graph.transpose(value, [*axes, *(i for i in range(len(lengths)) if i not in axes)])
    made = graph.reshape(value, [count, *shape])
    while count > 1:
        half, count = count // 2, (count + 1) // 2
        parts = [cut(graph, made, [0], [i * half], [(i + 1) * half]) for i in range(2)]
        rest = cut(graph, made, [0], [2 * half], [2 * half + 1])
        made = arithmetic(graph, "Mul", parts)
        if count > half:
            made = graph.node("Concat", [made, rest], axis=0)
    return [graph.squeeze(made, [0])]


def _extreme(op_type: str) -> Rule:
    """Find the largest or smallest; NaN where there is one."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        axes = settings_of(operation)["axes"]
        if not axes:
            return operands
        (value,) = operands
        if any(as_number(value.shape[i]) == 0 for i in axes if value.shape):
            return [_extreme_of_nothing(graph, operation, op_type)]
        wide = _wider(graph, value)
        made = ordering(graph, op_type, [wide], graph.ints(axes), keepdims=0)
        if is_float(value.dtype):
            made = _or_nan(graph, made, wide, axes)
        return [graph.cast(made, value.dtype)]

    return rule


def _or_nan(graph: Graph, made: Value, value: Value, axes: tuple[int, ...]) -> Value:
    """ONNX Runtime forgets NaN in some orders of numbers; a sum of absolute values is NaN only by one of them."""
    total = graph.node("ReduceL1", [value, graph.ints(axes)], keepdims=0)
    strange = graph.node("IsNaN", [total], dtype=np.bool_)
    return choose(graph, strange, total, made)


def _extreme_of_nothing(graph: Graph, operation: Operation, op_type: str) -> Value:
    shape, dtype = result_of(operation)
    if is_float(dtype):
        number = -np.inf if op_type == "ReduceMax" else np.inf
    elif dtype == np.bool_:
        number = op_type == "ReduceMin"
    else:
        info = np.iinfo(dtype)
        number = info.min if op_type == "ReduceMax" else info.max
    return graph.expand(graph.scalar(number, dtype), shape)


def _any_or_all(op_type: str) -> Rule:
    """Of truth values: the largest is whether any is true, the smallest whether all are."""
    extreme = _extreme(op_type)

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        if operands[0].dtype != np.bool_:
            raise refuse(operation, "reductions of bits are written for truth values alone")
        return list(extreme(graph, operation, operands))

    return rule


# ---- running -------------------------------------------------------------------------------------


def _cumulative_sum(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    settings = settings_of(operation)
    wide = _wider(graph, operands[0])
    axis = graph.scalar(settings["axis"])
    made = arithmetic(graph, "CumSum", [wide], axis, reverse=int(settings["reverse"]))
    return [graph.cast(made, operands[0].dtype)]


Join = Callable[[Graph, Value, Value], Value]


def _running(join: Join, neutral: Callable[[np.dtype], float]) -> Rule:
    """Join each number with the one 1, 2, 4, ... places before it, until all before it are joined."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        settings = settings_of(operation)
        axis, reverse = settings["axis"], settings["reverse"]
        value = _wider(graph, operands[0])
        length = as_number(operation.results[0].shape[axis])
        if length is None:
            raise refuse(operation, "along an axis whose length is open")
        step = 1
        while step < length:
            moved = _moved(
                graph, value, axis, step, reverse, len(operation.results[0].shape), neutral
            )
            value = join(graph, moved, value)
            step *= 2
        return [graph.cast(value, operands[0].dtype)]

    return rule


def _moved(
    graph: Graph,
    value: Value,
    axis: int,
    step: int,
    reverse: bool,
    ndim: int,
    neutral: Callable[[np.dtype], float],
) -> Value:
    """Move numbers along an axis; what enters changes nothing."""
    filling = graph.scalar(neutral(value.dtype), value.dtype)
    room = (-step, step, 0) if reverse else (step, -step, 0)
    return padded(graph, value, filling, [room if i == axis else (0, 0, 0) for i in range(ndim)])


def _lowest(dtype: np.dtype) -> float:
    return -np.inf if is_float(dtype) else np.iinfo(dtype).min


def _highest(dtype: np.dtype) -> float:
    return np.inf if is_float(dtype) else np.iinfo(dtype).max


def _log_sum(graph: Graph, left: Value, right: Value) -> Value:
    """log(exp(left) + exp(right)), around the larger of both."""
    high = graph.node("Max", [left, right])
    infinite = graph.node("IsInf", [high], dtype=np.bool_)
    center = choose(graph, infinite, graph.scalar(0, high.dtype), high)
    terms = [graph.node("Exp", [graph.node("Sub", [each, center])]) for each in (left, right)]
    made = graph.node("Add", [graph.node("Log", [graph.node("Add", terms)]), center])
    return choose(graph, infinite, high, made)


# ---- windows -------------------------------------------------------------------------------------

JoinAll = Callable[[Graph, Sequence[Value]], Value]


def _reduce_window(join: JoinAll, neutral: Callable[[np.dtype], float]) -> Rule:
    """One axis after the other: slices, each a step further on, are joined."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        (value,) = operands
        settings = settings_of(operation)
        shape, dtype = result_of(operation)
        filling = graph.scalar(neutral(dtype), dtype)
        if any(as_number(n) == 0 for n in shape) or any(as_number(n) == 0 for n in shape_of(value)):
            return [graph.expand(filling, shape)]
        wide = np.dtype(np.float32) if is_float(dtype) and dtype.itemsize == 2 else dtype
        value = _known(graph, graph.cast(value, wide), value.shape)
        value = padded(graph, value, graph.cast(filling, wide), _room(operation, settings))
        for axis, size in enumerate(settings["window_dimensions"]):
            step, apart = settings["window_strides"][axis], settings["window_dilation"][axis]
            value = _along(
                graph, value, axis, (int(size), int(step), int(apart)), shape[axis], join
            )
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
    graph: Graph, value: Value, axis: int, window: tuple[int, int, int], length: Any, join: JoinAll
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


def _extreme_of(op_type: str) -> JoinAll:
    def join(graph: Graph, parts: Sequence[Value]) -> Value:
        return ordering(graph, op_type, parts) if len(parts) > 1 else parts[0]

    return join


REDUCTIONS: dict[str, Rule] = {
    "cumlogsumexp": _running(_log_sum, _lowest),
    "cummax": _running(lambda graph, *pair: ordering(graph, "Max", pair), _lowest),
    "cummin": _running(lambda graph, *pair: ordering(graph, "Min", pair), _highest),
    "cumprod": _running(lambda graph, *pair: arithmetic(graph, "Mul", pair), lambda dtype: 1),
    "cumsum": _cumulative_sum,
    "reduce_and": _any_or_all("ReduceMin"),
    "reduce_max": _extreme("ReduceMax"),
    "reduce_min": _extreme("ReduceMin"),
    "reduce_or": _any_or_all("ReduceMax"),
    "reduce_prod": _of_floats("ReduceProd", _whole_product),
    "reduce_sum": _of_floats("ReduceSum", _whole_sum),
    "reduce_window_max": _reduce_window(_extreme_of("Max"), _lowest),
    "reduce_window_min": _reduce_window(_extreme_of("Min"), _highest),
    "reduce_window_sum": _reduce_window(_sum_of, lambda dtype: 0),
}
"""Rules by kind of operation."""
