"""Layer normalization and GELU, as `funcnet.functional` writes them."""

import math

import numpy as np

from funcnet.export.fusions.pattern import Named, NodePattern, Search
from funcnet.export.fusions.replacement import Replacement, replace_node
from funcnet.export.onnx.graph import GraphNode

__all__ = ["fuse_gelu", "fuse_layer_norm"]


def _mean(of: NodePattern) -> NodePattern:
    return ("Div", ("Unsqueeze", ("ReduceSum", of, "axes"), "axes"), "count")


_NEAR = Named("near", ("Sub", "x", Named("mean", _mean("x"))))
_REST = Named("rest", _mean("near"))
_VARIANCE = ("Relu", ("Sub", _mean(("Mul", "near", "near")), ("Mul", "rest", "rest")))
_ROOT = ("Reciprocal", ("Sqrt", ("Add", _VARIANCE, "eps")))
_STANDARDIZED = ("Mul", ("Sub", _NEAR, _REST), _ROOT)
_SCALED = ("Mul", _STANDARDIZED, "scale")
_SHIFTED = ("Add", _SCALED, "shift")


def fuse_layer_norm(search: Search, node: GraphNode) -> Replacement | None:
    """Write a standardization over the last axes, with its scale and offset if they follow, as LayerNormalization."""
    for op_type, pattern in (("Add", _SHIFTED), ("Mul", _SCALED), ("Mul", _STANDARDIZED)):
        found = search.match(node, pattern) if node.op_type == op_type else None
        if found is not None:
            return _layer_norm(search, node, found)
    return None


def _layer_norm(search: Search, node: GraphNode, found: dict[str, str]) -> Replacement | None:
    axes, shape = search.integers(found["axes"]), search.shape(found["x"])
    eps, count = search.number(found["eps"]), search.number(found["count"])
    if axes is None or shape is None or eps is None or search.dtype(found["x"]) != np.float32:
        return None
    own = shape[axes[0] :]
    if axes != list(range(axes[0], len(shape))) or not all(isinstance(n, int) for n in own):
        return None
    if not search.keeps_shape(found["x"], node):
        return None
    if count != math.prod(own):
        return None
    affine = [_of_shape(search, found[each], own) for each in ("scale", "shift") if each in found]
    if None in affine:
        return None
    scale = affine[0] if affine else search.graph.constant(np.ones(own, np.float32)).name
    mean = search.makers[found["mean"]]
    means = Replacement("ReduceMean", [found["x"], found["axes"]], {"keepdims": 1})
    replace_node(search.graph, mean, means)
    # of what is near 0: where the mean is large, the runtime's own standardization loses digits
    inputs = [found["near"], scale, *affine[1:]]
    return Replacement("LayerNormalization", inputs, {"axis": axes[0], "epsilon": eps})


def _of_shape(search: Search, name: str, shape: tuple[int, ...]) -> str | None:
    """Return the array of exactly this shape that a value is, perhaps with leading axes of length 1."""
    node = search.maker(name, "Unsqueeze")
    if node is None:
        return name if search.shape(name) == shape else None
    inner, axes = node.inputs[0], search.integers(node.inputs[1])
    leads = axes is not None and axes == list(range(len(axes)))
    return inner if leads and search.shape(inner) == shape else None


_GELU = ("Mul", ("Mul", "x", 0.5), ("Add", ("Erf", ("Mul", "x", math.sqrt(0.5))), 1.0))


def fuse_gelu(search: Search, node: GraphNode) -> Replacement | None:
    """Write ``x / 2 * (1 + erf(x / sqrt(2)))`` as Gelu."""
    found = search.match(node, _GELU) if node.op_type == "Mul" else None
    if found is None or search.dtype(found["x"]) != np.float32:
        return None
    if not search.keeps_shape(found["x"], node):
        return None
    return Replacement("Gelu", [found["x"]])
