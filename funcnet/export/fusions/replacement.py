"""What a node becomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from funcnet.export.onnx.graph import Graph, GraphNode

__all__ = ["Replacement", "replace_node"]


@dataclass(frozen=True)
class Replacement:
    """The operator that a node is from now on; its outputs stay what they were."""

    op_type: str
    inputs: Sequence[str]
    attributes: Mapping[str, Any] = field(default_factory=dict)


def replace_node(graph: Graph, node: GraphNode, made: Replacement) -> None:
    """Make another operator of a node, with a name that says so."""
    scope = node.name.rpartition("/")[0]
    node.name = graph.shared.unique("/".join(filter(None, (scope, made.op_type))))
    node.op_type, node.inputs = made.op_type, list(made.inputs)
    node.attributes = dict(made.attributes)
