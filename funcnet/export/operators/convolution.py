"""Convolutions, in all forms that JAX has, as ONNX's Conv."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number
from funcnet.export.operators.kernels import Rule, is_float, refuse, result_of
from funcnet.export.operators.slices import padded

__all__ = ["CONVOLUTION"]


def _convolution(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Conv on (batch, feature, space...), with what it cannot say done before: spreading, cutting, groups of batches."""
    settings = settings_of(operation)
    shape, dtype = result_of(operation)
    if any(as_number(n) == 0 for n in shape) or any(as_number(n) == 0 for n in operands[0].shape or ()):
        return [graph.expand(graph.scalar(0, dtype), shape)]
    if not is_float(dtype) or np.float64 in (dtype, operands[0].dtype, operands[1].dtype):
        raise refuse(operation, f"ONNX Runtime convolves no {dtype}; use float32")
    value, kernel = (_typed(graph, each, np.dtype(np.float32)) for each in operands)
    value = graph.transpose(value, settings["lhs_spec"])
    kernel = graph.transpose(kernel, settings["rhs_spec"])
    value, pads = _prepared(graph, operation, value, settings)
    groups = settings["batch_group_count"]
    if groups > 1:
        value = _batches_as_features(graph, value, groups)
    made = _conv(graph, value, kernel, settings, pads, max(groups, settings["feature_group_count"]))
    order = [settings["out_spec"].index(i) for i in range(len(shape))]
    return [graph.cast(graph.transpose(made, order), dtype)]


def _typed(graph: Graph, value: Value, dtype: np.dtype) -> Value:
    made = graph.cast(value, dtype)
    return Value(graph.use(made), value.shape, dtype, made.array, made.weight)


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
        shape = value.shape or ()
        lengths = [
            (n - 1) * (between + 1) + 1 + low + high
            for n, (low, high, between) in zip(shape[2:], spread, strict=True)
        ]
        value = padded(graph, value, graph.scalar(0, value.dtype), [(0, 0, 0), (0, 0, 0), *spread])
        value = Value(value.name, (*shape[:2], *lengths), value.dtype)
    return value, [(max(low, 0), max(high, 0)) for low, high in known]


def _batches_as_features(graph: Graph, value: Value, groups: int) -> Value:
    """Turn groups of the batch into groups of features, which Conv has."""
    batch, features, *space = value.shape or ()
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


CONVOLUTION: dict[str, Rule] = {"conv_general_dilated": _convolution}
"""Rules by kind of operation."""
