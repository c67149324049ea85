"""Sums, products, extremes and running ones along axes; sorting and the largest are in `order`."""

from collections.abc import Callable

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
)
from funcnet.export.operators.slices import padded

__all__ = ["REDUCTIONS"]


def _wider(graph: Graph, value: Value) -> Value:
    """16 bits are summed in 32, as XLA does."""
    return (
        graph.cast(value, np.float32)
        if value.dtype.itemsize == 2 and is_float(value.dtype)
        else value
    )


def _sum(op_type: str) -> Rule:
    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        axes = settings_of(operation)["axes"]
        if not axes:
            return operands
        wide = _wider(graph, operands[0])
        made = arithmetic(graph, op_type, [wide], graph.ints(axes), keepdims=0)
        return [graph.cast(made, operands[0].dtype)]

    return rule


def _extreme(op_type: str) -> Rule:
    """The largest or smallest; NaN where there is one."""

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
    "reduce_prod": _sum("ReduceProd"),
    "reduce_sum": _sum("ReduceSum"),
}
"""Rules by kind of operation."""
