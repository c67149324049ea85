"""From one dtype to another, by value or by bits, and arrays that count."""

import jax.numpy as jnp
import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value, carried
from funcnet.export.onnx.lengths import as_number
from funcnet.export.operators.kernels import Rule, broadcasting, is_float, refuse

__all__ = ["CONVERSIONS"]


def _convert(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    (value,) = operands
    dtype = jnp.dtype(settings_of(operation)["new_dtype"])
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise refuse(operation, "ONNX Runtime computes nothing with complex numbers")
    return [converted(graph, value, dtype)]


def converted(graph: Graph, value: Value, dtype: np.dtype) -> Value:
    """Convert as XLA does: floats outside of a whole number's range become its nearest end, NaN becomes 0."""
    if is_float(value.dtype) and jnp.issubdtype(dtype, jnp.integer):
        return _saturated(graph, graph.cast(value, _wide(value.dtype)), dtype)
    if dtype in (jnp.bfloat16, np.float16):
        # whole numbers in one step: rounded twice it can be the wrong neighbour
        exact = value if is_float(value.dtype) else graph.cast(value, _exact(value.dtype))
        return graph.rounded(exact, dtype)
    return graph.cast(value, dtype)


def _wide(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def _exact(dtype: np.dtype) -> np.dtype:
    """Floats that hold whole numbers of a dtype exactly, as far as there are such."""
    return np.dtype(np.float32 if np.dtype(dtype).itemsize <= 2 else np.float64)


def _saturated(graph: Graph, value: Value, dtype: np.dtype) -> Value:
    """Choose what casts of ONNX Runtime leave to the processor: NaN, and what lies outside."""
    info = np.iinfo(dtype)
    own = value.dtype
    high, low = graph.scalar(float(info.max) + 1, own), graph.scalar(float(info.min), own)
    if info.bits < 32:
        high = graph.scalar(float(info.max), own)
    above = graph.node("GreaterOrEqual", [value, high], dtype=np.bool_)
    below = graph.node("LessOrEqual", [value, low], dtype=np.bool_)
    strange = graph.node("IsNaN", [value], dtype=np.bool_)
    outside = graph.node("Or", [graph.node("Or", [above, below]), strange], dtype=np.bool_)
    inside = graph.node("Where", [outside, graph.scalar(0, own), value], dtype=own)
    # whole numbers are chosen among in int64, which holds all but the upper half of uint64
    via = np.dtype(np.uint64 if dtype == np.uint64 else np.int64)
    made = graph.cast(graph.cast(inside, via), np.int64)
    top = int(np.asarray(info.max).astype(np.int64)) if dtype == np.uint64 else info.max
    made = graph.node("Where", [above, graph.scalar(top), made], dtype=np.int64)
    made = graph.node("Where", [below, graph.scalar(info.min), made], dtype=np.int64)
    return graph.cast(made, dtype)


def _same_bits(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Read bits as another dtype: among whole numbers of one width a cast does that."""
    (value,) = operands
    dtype = jnp.dtype(settings_of(operation)["new_dtype"])
    if value.dtype == dtype:
        return operands
    whole = all(jnp.issubdtype(each, jnp.integer) for each in (value.dtype, dtype))
    if whole and value.dtype.itemsize == dtype.itemsize:
        return [graph.cast(value, dtype)]
    if dtype == np.float32 and value.dtype in (np.int32, np.uint32):
        return [_float_of_bits(graph, graph.cast(value, np.uint32))]
    if value.dtype == np.float32 and dtype in (np.int32, np.uint32):
        return [graph.cast(_bits_of_float(graph, value), dtype)]
    raise refuse(operation, f"bits of {value.dtype} read as {dtype}")


def _float_of_bits(graph: Graph, value: Value) -> Value:
    """Put a float32 together from its sign, exponent and fraction, in float64 where every one is exact."""

    def bits(mask: int, steps: int) -> Value:
        moved = graph.node("BitShift", [value, graph.scalar(steps, np.uint32)], direction="RIGHT")
        return graph.cast(
            graph.node("BitwiseAnd", [moved, graph.scalar(mask, np.uint32)]), np.float64
        )

    def number(each: float) -> Value:
        return graph.scalar(each, np.float64)

    def node(op_type: str, *inputs: Value) -> Value:
        return graph.node(op_type, inputs, dtype=np.float64)

    def same(left: Value, right: float) -> Value:
        return graph.node("Equal", [left, number(right)], dtype=np.bool_)

    sign, exponent, fraction = bits(1, 31), bits(255, 23), bits(2**23 - 1, 0)
    tiny = same(exponent, 0)
    whole = node("Add", fraction, node("Where", tiny, number(0), number(2**23)))
    power = node("Sub", node("Max", exponent, number(1)), number(150))
    size = node("Mul", whole, node("Pow", number(2), power))
    special = node("Where", same(fraction, 0), number(np.inf), number(np.nan))
    size = node("Where", same(exponent, 255), special, size)
    signed = node("Where", same(sign, 1), node("Neg", size), size)
    return graph.cast(signed, np.float32)


def _bits_of_float(graph: Graph, value: Value) -> Value:
    """Take a float32 apart, in float64 where every step is exact; its bits as a whole number of int64."""

    def number(each: float) -> Value:
        return graph.scalar(each, np.float64)

    def node(op_type: str, *inputs: Value) -> Value:
        return graph.node(op_type, inputs, dtype=np.float64)

    def test(op_type: str, *inputs: Value) -> Value:
        return graph.node(op_type, inputs, dtype=np.bool_)

    wide = graph.cast(value, np.float64)
    size = node("Abs", wide)
    logarithm = node("Div", node("Log", size), number(np.log(2)))
    special = test("Or", test("IsInf", size), test("IsNaN", size))
    power = node("Where", special, number(0), node("Max", node("Floor", logarithm), number(-126)))
    # the logarithm may be off by one, by rounding
    above = test("GreaterOrEqual", size, node("Pow", number(2), node("Add", power, number(1))))
    below = test("Less", size, node("Pow", number(2), power))
    power = node("Where", above, node("Add", power, number(1)), power)
    power = node("Where", below, node("Sub", power, number(1)), power)
    power = node("Min", node("Max", power, number(-126)), number(127))
    digits = node("Mul", size, node("Pow", number(2), node("Sub", number(23), power)))
    bits = node("Add", digits, node("Mul", node("Add", power, number(126)), number(2**23)))
    bits = node("Where", test("IsInf", size), number(0x7F800000), bits)
    bits = node("Where", test("IsNaN", size), number(0x7FC00000), bits)
    zero = test(
        "And", test("Equal", size, number(0)), test("Less", node("Div", number(1), wide), number(0))
    )
    negative = test("Or", test("Less", wide, number(0)), zero)
    signed = graph.node(
        "Where", [negative, graph.scalar(-(2**31)), graph.scalar(0)], dtype=np.int64
    )
    return graph.node("Add", [graph.cast(bits, np.int64), signed])


def _reduce_precision(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Round to the digits of another dtype, for the two that have a cast."""
    (value,) = operands
    settings = settings_of(operation)
    bits = settings["exponent_bits"], settings["mantissa_bits"]
    if bits in ((8, 23), (11, 52)) and carried(value.dtype).itemsize <= (4 if bits[0] == 8 else 8):
        return operands
    dtype = {(8, 7): jnp.bfloat16, (5, 10): np.float16}.get(bits)
    if dtype is None or value.dtype == np.float64:
        raise refuse(
            operation, f"rounding {value.dtype} to {bits[0]} bits of exponent, {bits[1]} of digits"
        )
    return [graph.cast(graph.rounded(value, dtype), value.dtype)]


def counted(graph: Graph, length: object, dtype: np.dtype) -> Value:
    """Count from 0 to a length, which may be open."""
    number = as_number(length)
    if number is not None:
        return graph.constant(np.arange(number).astype(dtype))
    zero, one = graph.scalar(0), graph.scalar(1)
    numbers = graph.node("Range", [zero, graph.length(length), one], shape=(length,))
    return graph.cast(numbers, dtype)


def _iota(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Numbers that count along one axis, and are the same along the others."""
    settings = settings_of(operation)
    shape, axis = tuple(settings["shape"]), settings["dimension"]
    numbers = counted(graph, shape[axis], jnp.dtype(settings["dtype"]))
    narrow = graph.unsqueeze(numbers, [i for i in range(len(shape)) if i != axis])
    narrow.shape = tuple(n if i == axis else 1 for i, n in enumerate(shape))
    full = graph.expand(narrow, shape)
    if full is not narrow:
        full.narrow = narrow
    return [full]


CONVERSIONS: dict[str, Rule] = {
    "bitcast_convert_type": broadcasting(_same_bits),
    "convert_element_type": broadcasting(_convert),
    "iota": _iota,
    "reduce_precision": broadcasting(_reduce_precision),
}
"""Rules by kind of operation."""
