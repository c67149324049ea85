"""Comparisons, choices, and what is done to single bits."""

import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.operators.kernels import (
    Rule,
    arithmetic,
    broadcasting,
    choose,
    is_float,
    ordering,
    refuse,
    result_of,
    unsigned_twin,
)

__all__ = ["LOGIC"]


def _compared(graph: Graph, op_type: str, *operands: Value) -> Value:
    return ordering(graph, op_type, operands, dtype=np.bool_)


def _comparison(op_type: str) -> Rule:
    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        return [_compared(graph, op_type, *operands)]

    return rule


def _unequal(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    return [_not(graph, _compared(graph, "Equal", *operands))]


def _not(graph: Graph, value: Value) -> Value:
    return graph.node("Not", [value], dtype=np.bool_)


def _both(graph: Graph, *operands: Value) -> Value:
    return graph.node("And", operands, dtype=np.bool_)


def _either(graph: Graph, *operands: Value) -> Value:
    return graph.node("Or", operands, dtype=np.bool_)


def _total_order(op_type: str, swapped: bool) -> Rule:
    """Comparisons in which NaN is equal to itself and above all others, and -0.0 is below 0.0."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        left, right = operands
        if not is_float(left.dtype):
            return [_compared(graph, op_type, left, right)]
        below = _totally_below(graph, *((right, left) if swapped else (left, right)))
        if op_type == "Less":
            return [below]
        above = _totally_below(graph, *((left, right) if swapped else (right, left)))
        return [_not(graph, above if op_type == "LessOrEqual" else _either(graph, below, above))]

    return rule


def _totally_below(graph: Graph, left: Value, right: Value) -> Value:
    left_nan, right_nan = (graph.node("IsNaN", [each], dtype=np.bool_) for each in (left, right))
    below = _either(
        graph, _compared(graph, "Less", left, right), _both(graph, _not(graph, left_nan), right_nan)
    )
    zero = graph.scalar(0, left.dtype)
    zeros = _both(
        graph, _compared(graph, "Equal", left, right), _compared(graph, "Equal", left, zero)
    )
    signs = [
        arithmetic(graph, "Div", [graph.scalar(1, left.dtype), each]) for each in (left, right)
    ]
    return _either(graph, below, _both(graph, zeros, _compared(graph, "Less", *signs)))


def _finite(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    size = arithmetic(graph, "Abs", operands)
    return [_compared(graph, "Less", size, graph.scalar(np.inf, operands[0].dtype))]


# ---- choices -------------------------------------------------------------------------------------


def _select(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Take each number from the array whose number stands at its place."""
    which, *cases = operands
    if which.dtype == np.bool_:
        if len(cases) == 1:
            return cases
        return [_chosen(graph, which, cases[1], cases[0])]
    made = cases[-1]
    for place in reversed(range(len(cases) - 1)):
        test = _compared(graph, "LessOrEqual", which, graph.scalar(place, which.dtype))
        made = _chosen(graph, test, cases[place], made)
    return [made]


def _chosen(graph: Graph, test: Value, yes: Value, no: Value) -> Value:
    """Where, or for truth values the three operators that it is."""
    if yes.dtype != np.bool_:
        return choose(graph, test, yes, no)
    return _either(graph, _both(graph, test, yes), _both(graph, _not(graph, test), no))


# ---- bits ----------------------------------------------------------------------------------------


def _bitwise(word: str) -> Rule:
    """And, Or, Xor, Not: of truth values, or of all bits of whole numbers."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        op_type = word if operands[0].dtype == np.bool_ else f"Bitwise{word}"
        return [graph.node(op_type, operands)]

    return rule


def _wide_twin(dtype: np.dtype) -> np.dtype:
    """Choose the unsigned dtype in which bits are shifted: not all ONNX Runtimes shift 16."""
    twin = unsigned_twin(dtype)
    return np.dtype(np.uint32) if twin.itemsize == 2 else twin


def _width(dtype: np.dtype) -> int:
    return 8 * np.dtype(dtype).itemsize


def shift(graph: Graph, value: Value, count: Value, direction: str) -> Value:
    """Shift bits; by the width or more (or less than 0) all are gone, where C leaves open what happens."""
    own, width = value.dtype, _width(value.dtype)
    twin, plain = _wide_twin(own), unsigned_twin(own)
    bits = graph.cast(graph.cast(value, plain), twin)
    known = count.array is not None and bool(np.all((count.array >= 0) & (count.array < width)))
    steps = graph.cast(graph.cast(count, plain), twin)
    if known:
        return graph.cast(graph.node("BitShift", [bits, steps], direction=direction), own)
    wide = graph.cast(steps, np.int64)
    if width == 64:  # counts of 2**63 and more came out negative
        inside = _both(
            graph,
            _compared(graph, "Less", wide, graph.scalar(width)),
            _compared(graph, "GreaterOrEqual", wide, graph.scalar(0)),
        )
    else:
        inside = _compared(graph, "Less", wide, graph.scalar(width))
    safe = choose(graph, inside, steps, graph.scalar(0, twin))
    moved = graph.node("BitShift", [bits, safe], direction=direction)
    moved = choose(graph, inside, moved, graph.scalar(0, twin))
    return graph.cast(moved, own)


def _shift(direction: str) -> Rule:
    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        return [shift(graph, operands[0], operands[1], direction)]

    return rule


def _arithmetic_shift(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Shift to the right with copies of the sign: the bits of what is negative are turned over, before and after."""
    value, count = operands
    signed = np.dtype(f"int{_width(value.dtype)}")
    number = graph.cast(value, signed)
    negative = _compared(graph, "Less", number, graph.scalar(0, signed))
    turned = choose(graph, negative, graph.node("BitwiseNot", [number]), number)
    moved = shift(graph, turned, graph.cast(count, signed), "RIGHT")
    moved = choose(graph, negative, graph.node("BitwiseNot", [moved]), moved)
    return [graph.cast(moved, value.dtype)]


def _count_bits(graph: Graph, value: Value) -> Value:
    """Count ones: in pairs, in fours, in bytes, then all bytes by a product. ``value`` is of uint32 or uint64."""
    dtype = value.dtype
    ones = np.iinfo(dtype).max

    def masked(each: Value, parts: int) -> Value:
        return graph.node("BitwiseAnd", [each, graph.scalar(ones // parts, dtype)])

    def moved(each: Value, steps: int) -> Value:
        return graph.node("BitShift", [each, graph.scalar(steps, dtype)], direction="RIGHT")

    pairs = arithmetic(graph, "Sub", [value, masked(moved(value, 1), 3)])
    fours = arithmetic(graph, "Add", [masked(pairs, 5), masked(moved(pairs, 2), 5)])
    eights = masked(arithmetic(graph, "Add", [fours, moved(fours, 4)]), 17)
    total = arithmetic(graph, "Mul", [eights, graph.scalar(ones // 255, dtype)])
    return moved(total, _width(dtype) - 8)


def _unsigned(graph: Graph, value: Value) -> Value:
    """Give the bits of whole numbers in uint32, or uint64, with zeros above."""
    plain = graph.cast(value, unsigned_twin(value.dtype))
    return graph.cast(plain, np.uint64 if plain.dtype == np.uint64 else np.uint32)


def _population_count(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    return [graph.cast(_count_bits(graph, _unsigned(graph, operands[0])), operands[0].dtype)]


def _leading_zeros(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Fill all bits below the highest one, and count them."""
    own = operands[0].dtype
    bits = _unsigned(graph, operands[0])
    for steps in (1, 2, 4, 8, 16, 32)[: _width(bits.dtype).bit_length() - 1]:
        moved = graph.node("BitShift", [bits, graph.scalar(steps, bits.dtype)], direction="RIGHT")
        bits = graph.node("BitwiseOr", [bits, moved])
    filled = graph.cast(_count_bits(graph, bits), own)
    return [arithmetic(graph, "Sub", [graph.scalar(_width(own), own), filled])]


def _exclusive_or_of_all(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Of truth values: whether an odd number of them is true."""
    (value,) = operands
    axes = settings_of(operation)["axes"]
    if value.dtype != np.bool_:
        raise refuse(operation, "reductions of bits are written for truth values alone")
    if not axes:
        return operands
    total = graph.node("ReduceSum", [graph.cast(value, np.int64), graph.ints(axes)], keepdims=0)
    return [graph.cast(graph.node("Mod", [total, graph.scalar(2)]), np.bool_)]


def _nothing(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Hand on what comes."""
    assert len(operands) == len(operation.results), result_of(operation)
    return operands


LOGIC: dict[str, Rule] = {
    **{
        name: broadcasting(rule)
        for name, rule in {
            "and": _bitwise("And"),
            "clz": _leading_zeros,
            "eq": _comparison("Equal"),
            "eq_to": _total_order("Equal", swapped=False),
            "ge": _comparison("GreaterOrEqual"),
            "gt": _comparison("Greater"),
            "is_finite": _finite,
            "le": _comparison("LessOrEqual"),
            "le_to": _total_order("LessOrEqual", swapped=False),
            "lt": _comparison("Less"),
            "lt_to": _total_order("Less", swapped=False),
            "ne": _unequal,
            "not": _bitwise("Not"),
            "or": _bitwise("Or"),
            "population_count": _population_count,
            "select_n": _select,
            "shift_left": _shift("LEFT"),
            "shift_right_arithmetic": _arithmetic_shift,
            "shift_right_logical": _shift("RIGHT"),
            "xor": _bitwise("Xor"),
        }.items()
    },
    "reduce_xor": _exclusive_or_of_all,
    **dict.fromkeys(("copy", "name", "optimization_barrier", "stop_gradient"), _nothing),
}
"""Rules by kind of operation."""
