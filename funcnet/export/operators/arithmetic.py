"""Sums, products, quotients, powers, extremes: what is done to numbers one by one."""

import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.operators.kernels import (
    Rule,
    arithmetic,
    broadcasting,
    choose,
    floating,
    is_float,
    is_unsigned,
    ordering,
    refuse,
    shape_of,
)

__all__ = ["ARITHMETIC"]


def _plain(op_type: str) -> Rule:
    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        return [arithmetic(graph, op_type, operands)]

    return rule


def _maximum(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Max; beside a constant 0 a Relu, which ONNX Runtime joins to the product before it."""
    for value, other in (operands, operands[::-1]):
        if is_float(value.dtype) and _is_zero(other) and not value.is_constant:
            return [floating(graph, "Relu", [value])]
    return [ordering(graph, "Max", operands)]


def _is_zero(value: Value) -> bool:
    return value.array is not None and value.shape == () and not np.any(np.asarray(value.array))


def _minimum(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    return [ordering(graph, "Min", operands)]


def _clamp(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    low, value, high = operands
    return [ordering(graph, "Min", [ordering(graph, "Max", [value, low]), high])]


def _negative(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    return [arithmetic(graph, "Neg", operands)]


def _absolute(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    unsigned = is_unsigned(operands[0].dtype)
    return operands if unsigned else [arithmetic(graph, "Abs", operands)]


def _sign(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    (value,) = operands
    if is_unsigned(value.dtype):
        return [graph.cast(graph.cast(value, np.bool_), value.dtype)]
    return [(floating if is_float(value.dtype) else arithmetic)(graph, "Sign", operands)]


def _square(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    return [arithmetic(graph, "Mul", [operands[0], operands[0]])]


def _one_minus_square(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """1 - x*x as (1 - x)(1 + x), which keeps its digits near 1."""
    (value,) = operands
    one = graph.scalar(1, value.dtype)
    difference = arithmetic(graph, "Sub", [one, value])
    return [arithmetic(graph, "Mul", [difference, arithmetic(graph, "Add", [one, value])])]


# ---- quotients -----------------------------------------------------------------------------------


def _quotient(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    if is_float(operands[0].dtype):
        return [arithmetic(graph, "Div", operands)]
    return [integer_quotient(graph, *operands)]


def _remainder(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Give the remainder the sign of what is divided; of a division by 0 all remains."""
    value, divisor = operands
    if is_float(value.dtype):
        return [floating(graph, "Mod", operands, fmod=1)]
    quotient = integer_quotient(graph, value, divisor)
    rest = arithmetic(graph, "Sub", [value, arithmetic(graph, "Mul", [quotient, divisor])])
    return [rest]


def integer_quotient(graph: Graph, value: Value, divisor: Value) -> Value:
    """Divide whole numbers as XLA does: towards 0; by 0 it gives -1, and the largest negative by -1 itself.

    In ONNX Runtime either of them ends the process.
    """
    if value.dtype == np.uint64:
        return _unsigned_quotient(graph, value, divisor)
    if divisor.array is not None and not np.isin(np.asarray(divisor.array), (0, -1)).any():
        return arithmetic(graph, "Div", [value, divisor])
    zero = graph.scalar(0, divisor.dtype)
    by_zero = ordering(graph, "Equal", [divisor, zero], dtype=np.bool_)
    if value.dtype == np.int64:
        made = _long_quotient(graph, value, divisor, by_zero)
    else:
        safe = choose(graph, by_zero, graph.scalar(1, divisor.dtype), divisor)
        wide = [graph.cast(each, np.int64) for each in (value, safe)]
        made = graph.cast(graph.node("Div", wide), value.dtype)
    return choose(graph, by_zero, graph.scalar(-1, value.dtype), made)


def _long_quotient(graph: Graph, value: Value, divisor: Value, by_zero: Value) -> Value:
    """Divide int64 by what is not 0; division by -1 turns the sign instead, which the smallest number survives."""
    by_minus_one = graph.node("Equal", [divisor, graph.scalar(-1)], dtype=np.bool_)
    unsafe = graph.node("Or", [by_zero, by_minus_one], dtype=np.bool_)
    safe = choose(graph, unsafe, graph.scalar(1), divisor)
    made = graph.node("Div", [value, safe])
    return choose(graph, by_minus_one, graph.node("Neg", [value]), made)


def _unsigned_quotient(graph: Graph, value: Value, divisor: Value) -> Value:
    """Divide 64 bits without sign: twice the quotient of the half, and one more if the rest is large enough."""
    zero = graph.scalar(0, np.uint64)
    by_zero = graph.node("Equal", [divisor, zero], dtype=np.bool_)
    safe = choose(graph, by_zero, graph.scalar(1, np.uint64), divisor)
    one = graph.scalar(1, np.uint64)
    half = graph.cast(graph.node("BitShift", [value, one], direction="RIGHT"), np.int64)
    large = ordering(
        graph, "GreaterOrEqual", [safe, graph.scalar(2**63, np.uint64)], dtype=np.bool_
    )
    signed = graph.node(
        "Where", [large, graph.scalar(1), graph.cast(safe, np.int64)], dtype=np.int64
    )
    doubled = graph.node("Mul", [graph.node("Div", [half, signed]), graph.scalar(2)])
    small = graph.node("Where", [large, graph.scalar(0), doubled], dtype=np.int64)
    quotient = graph.cast(small, np.uint64)
    rest = arithmetic(graph, "Sub", [value, arithmetic(graph, "Mul", [quotient, safe])])
    more = ordering(graph, "GreaterOrEqual", [rest, safe], dtype=np.bool_)
    made = arithmetic(graph, "Add", [quotient, graph.cast(more, np.uint64)])
    return choose(graph, by_zero, graph.scalar(2**64 - 1, np.uint64), made)


# ---- powers --------------------------------------------------------------------------------------


def _power(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    base = operands[0]
    if not is_float(base.dtype):
        raise refuse(operation, "powers of whole numbers with exponents that are not known")
    wide = np.float32 if base.dtype.itemsize == 2 else base.dtype
    made = graph.node("Pow", [graph.cast(each, wide) for each in operands])
    return [graph.cast(made, base.dtype)]


def _integer_power(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Multiply again and again: exact for whole numbers, and quick."""
    (value,) = operands
    exponent = settings_of(operation)["y"]
    if exponent == 0:
        return [graph.expand(graph.scalar(1, value.dtype), shape_of(value))]
    made = _repeated_product(graph, value, abs(exponent))
    if exponent < 0:
        made = arithmetic(graph, "Div", [graph.scalar(1, value.dtype), made])
    return [made]


def _repeated_product(graph: Graph, value: Value, exponent: int) -> Value:
    made = None
    while exponent:
        if exponent % 2:
            made = value if made is None else arithmetic(graph, "Mul", [made, value])
        exponent //= 2
        if exponent:
            value = arithmetic(graph, "Mul", [value, value])
    assert made is not None
    return made


ARITHMETIC: dict[str, Rule] = {
    name: broadcasting(rule)
    for name, rule in {
        "abs": _absolute,
        "add": _plain("Add"),
        "add_jaxvals": _plain("Add"),
        "clamp": _clamp,
        "div": _quotient,
        "integer_pow": _integer_power,
        "max": _maximum,
        "min": _minimum,
        "mul": _plain("Mul"),
        "neg": _negative,
        "one_minus_square": _one_minus_square,
        "pow": _power,
        "rem": _remainder,
        "sign": _sign,
        "square": _square,
        "sub": _plain("Sub"),
    }.items()
}
"""Rules by kind of operation."""
