"""In which dtype ONNX Runtime computes an operator: many have kernels for a few dtypes only.

Found by trying each operator in each dtype on ONNX Runtime 1.22 and 1.32 (CPU). What has no kernel is cast to a dtype
that has one and holds the same numbers, computed there, and cast back. Whole numbers wrap in casts as they do in
arithmetic, so that sums and products modulo 2**n come out exact.
"""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number
from funcnet.export.onnx.translation import OperationRule as Rule

__all__ = [
    "Rule",
    "arithmetic",
    "broadcasting",
    "choose",
    "compute",
    "floating",
    "is_float",
    "moved_as",
    "moving",
    "ordering",
    "refuse",
    "result_of",
    "shape_of",
    "stand_in",
    "unless_empty",
    "unsigned_twin",
]

_SMALL = {
    jnp.dtype(name): np.dtype(np.int32) for name in ("bool", "int8", "int16", "uint8", "uint16")
}
_BFLOAT16 = {jnp.dtype(jnp.bfloat16): np.dtype(np.float32)}
_LONG = {np.dtype(np.uint32): np.dtype(np.int64), np.dtype(np.uint64): np.dtype(np.int64)}

_ARITHMETIC = _SMALL | _BFLOAT16 | _LONG
"""Sums, products: uint64 through int64 is exact modulo 2**64."""

_FLOATING = _BFLOAT16 | {np.dtype(np.float16): np.dtype(np.float32)}
"""Functions of floats: XLA, too, computes those of 16 bits in 32."""


def refuse(operation: Operation, reason: str) -> ExportError:
    """Make the error of an operation that ONNX cannot say, or says only wrongly."""
    return ExportError(f"{operation.name} cannot be written as ONNX: {reason}")


def is_float(dtype: Any) -> bool:
    """Whether numbers of a dtype are floats; bfloat16 is one too, which NumPy does not know."""
    return bool(jnp.issubdtype(dtype, jnp.floating))


def is_unsigned(dtype: Any) -> bool:
    """Whether a dtype is of whole numbers without a sign."""
    return bool(jnp.issubdtype(dtype, jnp.unsignedinteger))


def shape_of(value: Value) -> tuple[Any, ...]:
    """Return the shape of a value that has one: operands have, what a rule made itself may not."""
    assert value.shape is not None, value
    return value.shape


def unsigned_twin(dtype: Any) -> np.dtype:
    """Return the unsigned dtype of as many bits."""
    return np.dtype(f"uint{8 * np.dtype(dtype).itemsize}")


def result_of(operation: Operation, number: int = 0) -> tuple[tuple[Any, ...], Any]:
    """Return the shape and the dtype of a result."""
    aval = operation.results[number]
    return tuple(aval.shape), aval.dtype


def compute(
    graph: Graph,
    op_type: str,
    operands: Sequence[Value],
    table: dict[Any, Any],
    *others: Value | None,
    dtype: Any = None,
    **attributes: Any,
) -> Value:
    """Add a node whose first inputs are computed in another dtype where a table says so.

    Args:
        graph: where.
        op_type: ONNX's name of the operator.
        operands: inputs of one dtype, which the table may change.
        table: from dtypes without a kernel to those that stand in.
        *others: further inputs, as they are: axes, indices.
        dtype: of the result if it is another one (comparisons).
        **attributes: of the node.
    """
    own = operands[0].dtype
    via = table.get(own, own)
    cast = [graph.cast(each, via) for each in operands]
    made = graph.node(op_type, [*cast, *others], dtype=dtype or via, **attributes)
    return made if dtype is not None else graph.cast(made, own)


def arithmetic(
    graph: Graph, op_type: str, operands: Sequence[Value], *others: Value | None, **attributes: Any
) -> Value:
    """Add a node of sums or products; whole numbers wrap."""
    return compute(graph, op_type, operands, _ARITHMETIC, *others, **attributes)


def floating(graph: Graph, op_type: str, operands: Sequence[Value], **attributes: Any) -> Value:
    """Add a node that is a function of floats, computed in at least 32 bits."""
    return compute(graph, op_type, operands, _FLOATING, **attributes)


def moved_as(dtype: Any) -> np.dtype:
    """Return the dtype, as wide or wider, in which numbers of this one are moved."""
    return np.dtype((_SMALL | _LONG | _BFLOAT16).get(dtype) or dtype)


def moving(
    graph: Graph,
    op_type: str,
    operands: Sequence[Value],
    *others: Value | None,
    first: Sequence[Value] = (),
    **attributes: Any,
) -> Value:
    """Add a node that moves numbers and computes nothing (Where, Pad): every dtype through one as wide."""
    own = operands[0].dtype
    via = moved_as(own)
    cast = [graph.cast(each, via) for each in operands]
    made = graph.node(op_type, [*first, *cast, *others], dtype=via, **attributes)
    return graph.cast(made, own)


def ordering(
    graph: Graph,
    op_type: str,
    operands: Sequence[Value],
    *others: Value | None,
    dtype: Any = None,
    **attributes: Any,
) -> Value:
    """Add a node that compares (Max, Less, ReduceMin): uint64 is shifted so that int64 keeps its order."""
    if operands[0].dtype != np.uint64:
        return compute(graph, op_type, operands, _ARITHMETIC, *others, dtype=dtype, **attributes)
    made = graph.node(
        op_type,
        [*(shifted_to_signed(graph, each) for each in operands), *others],
        dtype=dtype or np.int64,
        **attributes,
    )
    return made if dtype is not None else shifted_to_unsigned(graph, made)


def shifted_to_signed(graph: Graph, value: Value) -> Value:
    """Map uint64 to int64 in order: 0 becomes the smallest."""
    lowest = graph.scalar(np.iinfo(np.int64).min)
    return graph.node("Add", [graph.cast(value, np.int64), lowest])


def shifted_to_unsigned(graph: Graph, value: Value) -> Value:
    """Undo `shifted_to_signed`: adding half the range twice is adding nothing."""
    lowest = graph.scalar(np.iinfo(np.int64).min)
    return graph.cast(graph.node("Add", [value, lowest]), np.uint64)


def stand_in(
    graph: Graph, dtype: Any, ordered: bool = False
) -> tuple[Callable[[Value], Value], Callable[[Value], Value]]:
    """Give two functions: to the dtype that stands in for one in sums, or in comparisons, and back.

    Floats of 16 bits are computed in 32.
    """
    if ordered and dtype == np.uint64:
        return partial(shifted_to_signed, graph), partial(shifted_to_unsigned, graph)
    via: Any = (_ARITHMETIC | _FLOATING).get(dtype) or dtype
    return lambda value: graph.cast(value, via), lambda value: graph.cast(value, dtype)


def choose(graph: Graph, test: Value, yes: Value, no: Value) -> Value:
    """Take from one of two arrays."""
    return moving(graph, "Where", [yes, no], first=[test])


def unless_empty(rule: Rule) -> Rule:
    """Leave out operations that make arrays without numbers: kernels of ONNX Runtime stumble over some."""

    @wraps(rule)
    def apply(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        shapes = [[as_number(n) for n in each.shape] for each in operation.results]
        if not shapes or not all(0 in shape and None not in shape for shape in shapes):
            return list(rule(graph, operation, operands))
        return [graph.constant(np.zeros(each.shape, each.dtype)) for each in operation.results]

    return apply


def broadcasting(rule: Rule) -> Rule:
    """Let a rule of an elementwise operation take operands whose axes of length 1 were not yet repeated.

    ONNX's elementwise operators repeat them on their own, without writing the repeated array down.
    """

    @wraps(rule)
    def apply(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        shape, _ = result_of(operation)
        small = [each.narrow or each for each in operands]
        if any(each.narrow for each in operands) and len(operation.results) == 1:
            joined = _joined([each.shape or () for each in small])
            made = list(rule(graph, operation, small))
            if joined == shape:
                return made
            made[0].shape = joined
            full = graph.expand(made[0], shape)
            full.narrow = made[0]
            return [full]
        return list(rule(graph, operation, operands))

    return apply


def _joined(shapes: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Find the shape of arrays of one rank (scalars apart) after axes of length 1 are repeated."""
    full = [shape for shape in shapes if shape] or [()]
    return tuple(
        next((length for length in lengths if length != 1), 1)
        for lengths in zip(*full, strict=True)
    )
