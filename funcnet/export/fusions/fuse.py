"""Go through a graph and put larger operators where they fit."""

from collections.abc import Callable, Iterable

from funcnet.export.fusions.attention import fuse_attention
from funcnet.export.fusions.biases import fuse_bias
from funcnet.export.fusions.maxima import fuse_maximum, fuse_relu, fuse_windows
from funcnet.export.fusions.normalization import fuse_gelu, fuse_layer_norm
from funcnet.export.fusions.pattern import Search
from funcnet.export.fusions.replacement import Replacement, replace_node
from funcnet.export.onnx.graph import Graph, GraphNode

__all__ = ["fuse"]

_PASSES: tuple[tuple[Callable[[Search, GraphNode], Replacement | None], ...], ...] = (
    (fuse_relu, fuse_maximum),
    (fuse_windows, fuse_layer_norm, fuse_gelu, fuse_attention, fuse_bias),
)
"""The second looks for what the first has made."""


def fuse(graph: Graph, results: Iterable[str] = ()) -> None:
    """Put larger operators into a graph and its bodies; what nothing reads any more stays, to be pruned.

    Args:
        graph: in which outputs may still be missing.
        results: names of the values that are going to be its outputs.
    """
    outputs = [*results, *(each.name for each in graph.outputs)]
    for rules in _PASSES:
        search = Search(graph, outputs)
        for node in reversed(graph.nodes):  # the last first: it may contain what others would take
            _try(graph, search, node, rules)
    for node in graph.nodes:
        for body in node.attributes.values():
            if isinstance(body, Graph):
                fuse(body)


def _try(
    graph: Graph,
    search: Search,
    node: GraphNode,
    rules: tuple[Callable[[Search, GraphNode], Replacement | None], ...],
) -> None:
    for rule in rules:
        made = rule(search, node)
        if made is not None:
            replace_node(graph, node, made)
            return
