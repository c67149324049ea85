"""A bias added after a product or a convolution becomes its third input."""

from funcnet.export.fusions.pattern import Search
from funcnet.export.fusions.replacement import Replacement
from funcnet.export.onnx.graph import GraphNode

__all__ = ["fuse_bias"]


def fuse_bias(search: Search, node: GraphNode) -> Replacement | None:
    """Write a Conv or a Gemm with the Add that follows as one."""
    if node.op_type != "Add":
        return None
    for made, bias in (node.inputs, node.inputs[::-1]):
        maker = search.makers.get(made)
        array = _weight(search, bias, maker)
        if maker is not None and array is not None and search.uses[made] == 1:
            return Replacement(maker.op_type, [*maker.inputs, array], maker.attributes)
    return None


def _weight(search: Search, name: str, maker: GraphNode | None) -> str | None:
    """Return the weight of one number a channel that a value is, given axes of length 1 as the operator asks."""
    node = search.maker(name, "Unsqueeze")
    if maker is None or node is None or len(maker.inputs) != 2:
        return None
    shape, axes = search.shape(node.inputs[0]), search.integers(node.inputs[1])
    rank = search.shape(maker.outputs[0])
    if shape is None or len(shape) != 1 or axes is None or rank is None:
        return None
    fits = {
        "Conv": axes in ([*range(1, len(rank) - 1)], [0, *range(2, len(rank))]),
        "Gemm": axes == [0],
    }
    # to a channel: the second axis of a convolution, the last of a product
    if not fits.get(maker.op_type) or shape[0] != rank[1]:
        return None
    return node.inputs[0]
