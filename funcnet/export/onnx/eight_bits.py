"""Weights in 8 bits: a whole number for each, and a scale for each output channel."""

import copy

import numpy as np

from funcnet.export.onnx.finishing import all_nodes
from funcnet.export.onnx.graph import Graph, GraphNode

__all__ = ["in_eight_bits", "quantize_array"]

_VIEWS = {"Concat", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"}
"""Operators whose results hold a weight's numbers: a product may read those instead of the weight."""

_CHANNEL = {
    "Conv": 0,
    "ConvTranspose": 1,
    "Gather": 0,
    "Gemm": None,
    "MatMul": None,
    "Einsum": None,
}
"""Who reads weights that are worth it, and where their output channel is in what they read, if that is fixed."""

_LEAST = 256
"""Numbers of a weight below which a scale would cost as much as is saved."""


def in_eight_bits(graph: Graph, names: set[str]) -> tuple[Graph, tuple[str, ...]]:
    """Copy a graph, with matrices, kernels and tables of embeddings in 8 bits.

    Args:
        graph: pruned.
        names: of the weights.

    Returns:
        The copy, which shares the arrays that stay as they are, and the names of weights in 8 bits.
    """
    made = copy.copy(graph)
    made.root = made
    made.shared = copy.copy(graph.shared)
    made.shared.initializers = dict(graph.shared.initializers)
    done, nodes = [], []
    for name in sorted(names & graph.shared.initializers.keys()):
        array = graph.shared.initializers[name]
        axis = _channel_axis(graph, name, array)
        if axis is None:
            continue
        numbers, scale = quantize_array(array, axis)
        del made.shared.initializers[name]
        made.shared.initializers[f"{name}.int8"] = numbers
        made.shared.initializers[f"{name}.scale"] = scale
        inputs = [f"{name}.int8", f"{name}.scale"]
        node = GraphNode(
            "DequantizeLinear", inputs, [name], f"{name}/DequantizeLinear", {"axis": axis}
        )
        nodes.append(node)
        done.append(name)
    made.nodes = nodes + graph.nodes
    return made, tuple(done)


def quantize_array(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Round an array to whole numbers from -127 to 127 times a scale for each place along an axis.

    >>> from funcnet.export.onnx.eight_bits import quantize_array
    >>> numbers, scale = quantize_array(np.array([[1.0, -2.0], [0.0, 0.0]], np.float32), axis=0)
    >>> numbers.tolist(), (numbers * scale[:, None])[0, 1].round(6).item()
    ([[64, -127], [0, 0]], -2.0)
    """
    others = tuple(i for i in range(array.ndim) if i != axis)
    largest = np.max(np.abs(array), axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / 127, 1).astype(array.dtype)
    numbers = np.clip(np.rint(array / scale), -127, 127).astype(np.int8)
    return numbers, scale.reshape(-1)


def _channel_axis(graph: Graph, name: str, array: np.ndarray) -> int | None:
    """Find the axis of a weight along which its outputs lie; None for a weight that stays as it is."""
    if array.dtype != np.float32 or array.ndim < 2 or array.size < _LEAST:
        return None
    if not np.isfinite(array).all():
        return None
    seen = [(name, list(range(array.ndim)))]
    nodes = list(all_nodes(graph))
    found: list[int] = []
    while seen:
        current, axes = seen.pop()
        for node in nodes:
            if current not in node.inputs:
                continue
            place = node.inputs.index(current)
            if node.op_type in _CHANNEL and not (node.op_type == "Gather" and place):
                found.append(axes[_channel(node, place, len(axes))] if axes else 0)
            elif node.op_type == "Transpose" and axes:
                seen.append((node.outputs[0], [axes[i] for i in node.attributes["perm"]]))
            elif node.op_type in _VIEWS or node.op_type == "Transpose":
                seen += [(output, []) for output in node.outputs]
    return found[0] if found else None


def _channel(node: GraphNode, place: int, count: int) -> int:
    """Say which axis of an operand is not summed over: a matrix on the right has it last, one on the left before."""
    fixed = _CHANNEL[node.op_type]
    if fixed is not None:
        return fixed
    if node.op_type == "Einsum":
        return _channel_of_einsum(node, place)
    turned = node.attributes.get("transB" if place else "transA", 0)
    return count - 1 if bool(place) != bool(turned) else count - 2


def _channel_of_einsum(node: GraphNode, place: int) -> int:
    operands, result = node.attributes["equation"].split("->")
    own = operands.split(",")[place]
    return next((i for i, letter in enumerate(own) if letter in result), 0)
