"""Products of matrices, in all forms that ``dot_general`` has."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number
from funcnet.export.operators.kernels import Rule, is_float, refuse, result_of

__all__ = ["PRODUCTS"]


def _dot_general(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Gemm for two matrices; else MatMul, with axes moved and joined where they do not lie as it takes them."""
    settings = settings_of(operation)
    shape, dtype = result_of(operation)
    via = _computed_as(operation, operands, dtype)
    left, right = (_cast(graph, each, via) for each in operands)
    contracting, batch = settings["contracting"], settings["batch"]
    if any(as_number((left.shape or ())[i]) == 0 for i in contracting[0]):
        return [graph.expand(graph.scalar(0, dtype), shape)]
    if left.ndim == right.ndim == 2 and len(contracting[0]) == 1 and is_float(via):
        made = _matrices(graph, left, right, contracting[0][0], contracting[1][0])
    else:
        made = _general(graph, left, right, contracting, batch, shape)
    return [graph.cast(made, dtype)]


def _computed_as(operation: Operation, operands: Sequence[Value], dtype: Any) -> np.dtype:
    """At least 32 bits; whole numbers in 32 or 64 that wrap alike."""
    kinds = {each.dtype for each in operands}
    if is_float(dtype):
        wide = np.float64 if np.float64 in (dtype, *kinds) else np.float32
        return np.dtype(wide)
    if np.issubdtype(dtype, np.integer) and not any(is_float(each) for each in kinds):
        return np.dtype(
            np.int64 if np.dtype(dtype).itemsize == 8 or dtype == np.uint32 else np.int32
        )
    raise refuse(operation, f"products of {' and '.join(map(str, kinds))} as {dtype}")


def _cast(graph: Graph, value: Value, dtype: np.dtype) -> Value:
    made = graph.cast(value, dtype)
    return Value(graph.use(made), value.shape, made.dtype, made.array, made.weight)


def _matrices(graph: Graph, left: Value, right: Value, left_axis: int, right_axis: int) -> Value:
    """Gemm takes either matrix as it lies."""
    turned = {"transA": 1 - left_axis or None, "transB": right_axis or None}
    return graph.node("Gemm", [left, right], **turned)


def _general(
    graph: Graph,
    left: Value,
    right: Value,
    contracting: Sequence[Sequence[int]],
    batch: Sequence[Sequence[int]],
    shape: Sequence[Any],
) -> Value:
    left_shape, right_shape = left.shape or (), right.shape or ()
    left_free = _others(left, batch[0], contracting[0])
    right_free = _others(right, batch[1], contracting[1])
    shared = [left_shape[i] for i in batch[0]]
    summed = [left_shape[i] for i in contracting[0]]
    free = [[left_shape[i] for i in left_free], [right_shape[i] for i in right_free]]
    left = graph.transpose(left, [*batch[0], *left_free, *contracting[0]])
    right = graph.transpose(right, [*batch[1], *contracting[1], *right_free])
    # without batch axes MatMul takes any number of free axes on the left; those of the right are joined
    keeps = len(free[0]) == 1 or (not shared and len(free[0]) > 1)
    rows = free[0] if keeps else [prod(free[0])]
    left = graph.reshape(left, [*shared, *rows, prod(summed)])
    right = graph.reshape(right, [*shared, prod(summed), prod(free[1])])
    made = graph.node("MatMul", [left, right], shape=[*shared, *rows, prod(free[1])])
    return graph.reshape(made, shape)


def _others(value: Value, batch: Sequence[int], contracting: Sequence[int]) -> list[int]:
    return [i for i in range(value.ndim) if i not in batch and i not in contracting]


PRODUCTS: dict[str, Rule] = {"dot_general": _dot_general}
"""Rules by kind of operation."""
