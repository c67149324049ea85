"""Operators of numbers in few bits, in place of the marked calls of `funcnet.functional.quantization`.

A weight in 4 bits is stored as UINT4 from opset 21 on; before, ONNX has no such type, and it takes a byte for each
number.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.jax_internals.programs import Operation
from funcnet.core.marks import mark_of
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.translation import MarkRule
from funcnet.export.operators.kernels import shape_of

__all__ = ["MARKS"]

_FIRST_OF_FOUR_BITS = 21
"""The opset from which on there are UINT4 and blocks that share a scale."""


def _settings(operation: Operation) -> Mapping[str, int]:
    mark = mark_of(operation)
    assert mark is not None  # rules are asked for marks alone
    return mark.settings


# ---- rounding, and back --------------------------------------------------------------------------


def _rounds(operation: Operation, settings: Mapping[str, int], opset: int) -> bool:
    return settings["bits"] == 8 and _can_share(operation, settings, opset)


def _round(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    settings = _settings(operation)
    dtype = operation.results[0].dtype
    inputs = list(operands)
    if len(inputs) == 2 and dtype == np.int8:  # without a zero point the result would be UINT8
        inputs.append(_zeros_like(graph, operands[1], dtype))
    return [_linear(graph, "QuantizeLinear", inputs, settings, dtype)]


def _widen(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    inputs = _in_four_bits(graph, operands)
    return [_linear(graph, "DequantizeLinear", inputs, _settings(operation), jnp.float32)]


def _zeros_like(graph: Graph, scale: Value, dtype: Any) -> Value:
    return graph.constant(np.zeros(shape_of(scale), dtype))


def _can_share(operation: Operation, settings: Mapping[str, int], opset: int) -> bool:
    """Say whether ONNX has scales like these: blocks only since opset 21, but full ones can be rows."""
    block = settings.get("block")
    if block is None or opset >= _FIRST_OF_FOUR_BITS:
        return True
    shape = operation.operands[0].shape
    known = all(isinstance(n, int) for n in shape)
    return known and settings["axis"] == len(shape) - 1 and shape[-1] % block == 0


def _linear(
    graph: Graph, op_type: str, inputs: list[Value], settings: Mapping[str, int], dtype: Any
) -> Value:
    axis, block = settings.get("axis"), settings.get("block")
    shape = shape_of(inputs[0])
    if block is None or graph.shared.opset >= _FIRST_OF_FOUR_BITS:
        blocks: dict[str, Any] = {} if axis is None else {"axis": axis}
        blocks |= {} if block is None else {"block_size": block}
        return graph.node(op_type, inputs, dtype=dtype, shape=shape, **blocks)
    rows = prod(shape) // block
    cut = graph.reshape(inputs[0], (rows, block))
    scales = [graph.reshape(each, (rows,)) for each in inputs[1:]]
    made = graph.node(op_type, [cut, *scales], dtype=dtype, shape=(rows, block), axis=0)
    return graph.reshape(made, shape)


# ---- four bits -----------------------------------------------------------------------------------


def _always(operation: Operation, settings: Mapping[str, int], opset: int) -> bool:
    del operation, settings, opset
    return True


def _unpack(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    length = _settings(operation)["length"]
    (packed,) = operands
    stored = _stored(graph, packed)
    if stored is None:
        return [_unpacked(graph, packed, length)]
    codes = np.stack([stored & 15, stored >> 4], -1).reshape(*stored.shape[:-1], -1)[..., :length]
    if graph.shared.opset < _FIRST_OF_FOUR_BITS:
        return [_kept(graph, packed.name, codes)]
    return [
        graph.node("Cast", [_kept(graph, packed.name, codes.astype(jnp.uint4))], dtype=np.uint8)
    ]


def _unpacked(graph: Graph, packed: Value, length: int) -> Value:
    """Unpack what is known only when the file is run, such as the rows of a loop."""
    shape = shape_of(packed)
    low = graph.node("BitwiseAnd", [packed, graph.scalar(15, np.uint8)])
    high = graph.node("BitShift", [packed, graph.scalar(4, np.uint8)], direction="RIGHT")
    halves = [graph.unsqueeze(each, [len(shape)]) for each in (low, high)]
    joined = graph.node("Concat", halves, axis=-1)
    flat = graph.reshape(Value(joined.name, None, np.uint8), (*shape[:-1], 2 * shape[-1]))
    bounds = [graph.ints([number]) for number in (0, length, -1)]
    return graph.node("Slice", [flat, *bounds]) if length < 2 * shape[-1] else flat


def _in_four_bits(graph: Graph, operands: list[Value]) -> list[Value]:
    """Read numbers that are stored in four bits as they are, with zero points of the same type."""
    made = {node.outputs[0]: node for node in graph.nodes if node.op_type == "Cast"}
    node = made.get(operands[0].name)
    if node is None or len(operands) < 3:
        return operands
    source = graph.shared.initializers.get(node.inputs[0])
    zeros = _stored(graph, operands[2])
    if source is None or source.dtype != jnp.uint4 or zeros is None:
        return operands
    narrow = graph.constant(zeros.astype(jnp.uint4), "zero_point")
    return [Value(node.inputs[0], operands[0].shape, np.dtype(jnp.uint4)), operands[1], narrow]


def _stored(graph: Graph, value: Value) -> np.ndarray | None:
    """Return the numbers of a weight or a constant of bytes; None for what is computed."""
    array = value.array if value.is_constant else graph.shared.initializers.get(value.name)
    return None if array is None or array.dtype != np.uint8 else np.asarray(array)


def _kept(graph: Graph, name: str, codes: np.ndarray) -> Value:
    """Store numbers under the name of those that they were made of, and of their type."""
    own = f"{name}.{codes.dtype.name}"
    if own not in graph.shared.initializers:
        graph.shared.initializers[graph.shared.unique(own)] = codes
    return Value(own, codes.shape, codes.dtype)


MARKS: dict[str, MarkRule] = {
    "dequantize_linear": MarkRule(_can_share, _widen),
    "quantize_linear": MarkRule(_rounds, _round),
    "unpack_int4": MarkRule(_always, _unpack),
}
"""Rules by the kind of a mark."""
