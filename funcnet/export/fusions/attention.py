"""Softmax and its product with values, as `F.scaled_dot_product_attention` writes them.

There rows that are masked as a whole give zeros, and NaN or infinity in a value reaches only the queries that attend
to it. Where no row can be masked as a whole, finite numbers give what a plain Softmax gives.
"""

import numpy as np

from funcnet.export.fusions.pattern import ANY, Named, NodePattern, Search
from funcnet.export.fusions.replacement import Replacement, replace_node
from funcnet.export.onnx.graph import GraphNode

__all__ = ["fuse_attention"]

_LARGEST = Named("largest", ("Unsqueeze", ("Max", ANY, Named("top", ANY)), "axis"))
_IS_FINITE = Named("finite", ("Less", _LARGEST, np.inf))
_WEIGHTS = Named("weights", ("Exp", ("Where", _IS_FINITE, ("Sub", "scores", "largest"), -np.inf)))
_SUMS = Named("sums", ("Unsqueeze", ("ReduceSum", "weights", "axis"), "axis"))
_TOTAL = ("Where", ("Equal", "sums", 0.0), 1.0, _SUMS)
_AVERAGE = ("Div", ("MatMul", _WEIGHTS, "values"), _TOTAL)
_ATTENDED: tuple[NodePattern, ...] = (
    ("Where", ("And", "finite", ANY), _AVERAGE, np.nan),
    ("Where", "finite", _AVERAGE, np.nan),
)
_FINITE_PART = ("Where", ("Less", ("Abs", "x"), np.inf), "x", 0.0)
_MASKED = ("Where", "mask", "scores", -np.inf)

_MOST_MASKED = 1 << 22
"""Numbers of a mask that is written down as what is added to scores, which is quicker than a choice."""


def fuse_attention(search: Search, node: GraphNode) -> Replacement | None:
    """Write attention as the product of a Softmax with the values."""
    if node.op_type != "Where":
        return None
    found = next(filter(None, (search.match(node, each) for each in _ATTENDED)), None)
    if found is None or search.dtype(found["scores"]) != np.float32:
        return None
    if search.uses[found["weights"]] != 2:  # the product and the sum
        return None
    scores, shape = found["scores"], search.shape(found["scores"])
    if shape is None or search.integers(found["axis"]) != [len(shape) - 1]:
        return None
    if search.maker(scores, "Where") is not None and not _masks_a_part(search, scores):
        return None
    exponential = search.makers[found["weights"]]
    softmax = Replacement("Softmax", [scores], {"axis": len(shape) - 1})
    replace_node(search.graph, exponential, softmax)
    return Replacement("MatMul", [found["weights"], _plain(search, found["values"])])


def _plain(search: Search, name: str) -> str:
    """Return the values themselves, if what is not finite was taken out of them."""
    node = search.maker(name, "Where")
    found = search.match(node, _FINITE_PART) if node else None
    return found["x"] if found else name


def _masks_a_part(search: Search, name: str) -> bool:
    """Say whether a mask that is known leaves something of each row; have it added instead of chosen by."""
    node = search.makers[name]
    found = search.match(node, _MASKED)
    mask = search.array(found["mask"]) if found else None
    if found is None or mask is None or mask.dtype != np.bool_ or not mask.any(-1).all():
        return False
    if mask.size <= _MOST_MASKED:
        added = np.where(mask, np.float32(0), np.float32(-np.inf))
        inputs = [found["scores"], search.graph.constant(added, "mask").name]
        replace_node(search.graph, node, Replacement("Add", inputs))
    return True
