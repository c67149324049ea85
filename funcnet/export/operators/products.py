"""Products of matrices and convolutions, in all forms that JAX has."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number
from funcnet.export.operators.kernels import Rule, is_float, refuse, result_of, shape_of
from funcnet.export.operators.slices import padded

__all__ = ["PRODUCTS"]


def _dot_general(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Gemm for two matrices; else MatMul, with axes moved and joined where they do not lie as it takes them."""
    settings = settings_of(operation)
    shape, dtype = result_of(operation)
    via = _computed_as(operation, operands, dtype)
    left, right = (_cast(graph, each, via) for each in operands)
    contracting, batch = settings["contracting"], settings["batch"]
    if any(as_number(shape_of(left)[i]) == 0 for i in contracting[0]):
        return [graph.expand(graph.scalar(0, dtype), shape)]
    matrices = left.ndim == right.ndim == 2 and not batch[0] and len(contracting[0]) == 1
    if matrices and is_float(via):
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
    return graph.node(
        "Gemm", [left, right], transA=1 - left_axis or None, transB=right_axis or None
    )


def _general(
    graph: Graph,
    left: Value,
    right: Value,
    contracting: Sequence[Sequence[int]],
    batch: Sequence[Sequence[int]],
    shape: Sequence[Any],
) -> Value:
    left_shape, right_shape = shape_of(left), shape_of(right)
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


# ---- convolution ---------------------------------------------------------------------------------


def _convolution(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Write Conv on (batch, feature, space...); what it cannot say is done before: spreading, cutting, groups."""
    settings = settings_of(operation)
    shape, dtype = result_of(operation)
    if any(as_number(n) == 0 for n in shape) or any(
        as_number(n) == 0 for n in shape_of(operands[0])
    ):
        return [graph.expand(graph.scalar(0, dtype), shape)]
    if not is_float(dtype) or np.float64 in (dtype, operands[0].dtype, operands[1].dtype):
        raise refuse(operation, f"ONNX Runtime convolves no {dtype}; use float32")
    value, kernel = (_cast(graph, each, np.dtype(np.float32)) for each in operands)
    value = graph.transpose(value, settings["lhs_spec"])
    kernel = graph.transpose(kernel, settings["rhs_spec"])
    value, pads = _prepared(graph, operation, value, settings)
    groups = settings["batch_group_count"]
    if groups > 1:
        value = _batches_as_features(graph, value, groups)
    made = _conv(graph, value, kernel, settings, pads, max(groups, settings["feature_group_count"]))
    order = [settings["out_spec"].index(i) for i in range(len(shape))]
    return [graph.cast(graph.transpose(made, order), dtype)]


def _prepared(
    graph: Graph, operation: Operation, value: Value, settings: dict[str, Any]
) -> tuple[Value, list[tuple[int, int]]]:
    """Spread the input where it is dilated, cut it where padding is negative; return the padding that is left."""
    pads = [tuple(map(as_number, pair)) for pair in settings["padding"]]
    if any(None in pair for pair in pads):
        raise refuse(operation, "padding that depends on an open length")
    known = [(int(low or 0), int(high or 0)) for low, high in pads]
    cuts = [(min(low, 0), min(high, 0)) for low, high in known]
    spread = [(*cut, int(by) - 1) for cut, by in zip(cuts, settings["lhs_dilation"], strict=True)]
    if any(any(each) for each in spread):
        shape = shape_of(value)
        lengths = [
            (n - 1) * (between + 1) + 1 + low + high
            for n, (low, high, between) in zip(shape[2:], spread, strict=True)
        ]
        value = padded(graph, value, graph.scalar(0, value.dtype), [(0, 0, 0), (0, 0, 0), *spread])
        value = Value(value.name, (*shape[:2], *lengths), value.dtype)
    return value, [(max(low, 0), max(high, 0)) for low, high in known]


def _batches_as_features(graph: Graph, value: Value, groups: int) -> Value:
    """Turn groups of the batch into groups of features, which Conv has."""
    batch, features, *space = shape_of(value)
    split = graph.reshape(value, [groups, batch // groups, features, *space])
    order = [1, 0, *range(2, 3 + len(space))]
    moved = graph.transpose(split, order)
    return graph.reshape(moved, [batch // groups, groups * features, *space])


def _conv(
    graph: Graph,
    value: Value,
    kernel: Value,
    settings: dict[str, Any],
    pads: Sequence[tuple[int, int]],
    groups: int,
) -> Value:
    strides, dilations = settings["window_strides"], settings["rhs_dilation"]
    bare = not pads
    if bare:  # Conv needs an axis of space
        value, kernel = (graph.unsqueeze(each, [2]) for each in (value, kernel))
        strides, dilations, pads = (1,), (1,), [(0, 0)]
    made = graph.node(
        "Conv",
        [value, kernel],
        strides=list(map(int, strides)),
        dilations=list(map(int, dilations)),
        pads=[low for low, _ in pads] + [high for _, high in pads],
        group=int(groups),
    )
    return graph.squeeze(made, [2]) if bare else made


PRODUCTS: dict[str, Rule] = {"conv_general_dilated": _convolution, "dot_general": _dot_general}
"""Rules by kind of operation."""
