"""The names of a graph's outputs: those that were asked for, without nodes that only rename."""

from collections.abc import Sequence

import jax.numpy as jnp

from funcnet.export.onnx.graph import Graph, Value, carried
from funcnet.export.onnx.model_file import all_nodes

__all__ = ["name_outputs"]


def name_outputs(graph: Graph, values: Sequence[Value], names: Sequence[str]) -> None:
    """Make values the outputs of a graph under these names.

    A value that a node makes is made under its new name; an input, a weight, and what is an output already is copied.
    """
    made = {name for node in graph.nodes for name in node.outputs}
    renamed: dict[str, str] = {}
    for value, name in zip(values, names, strict=True):
        narrow = _narrowed(graph, value)
        if narrow is not value:
            made.add(narrow.name)
        if narrow.name in made and narrow.name not in renamed:
            renamed[narrow.name] = name
            graph.outputs.append(Value(name, narrow.shape, narrow.dtype))
        else:
            source = renamed.get(narrow.name, narrow.name)
            graph.output(
                Value(source, narrow.shape, narrow.dtype, None if source else narrow.array), name
            )
    _rename(graph, renamed)


def _narrowed(graph: Graph, value: Value) -> Value:
    """Make bfloat16 of what was carried as float32."""
    if carried(value.dtype) == value.dtype:
        return value
    narrow = graph.node("Cast", [value], shape=value.shape, dtype=value.dtype)
    graph.nodes[-1].attributes["to"] = jnp.dtype(value.dtype)
    return narrow


def _rename(graph: Graph, renamed: dict[str, str]) -> None:
    for node in all_nodes(graph):
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        node.outputs = [renamed.get(name, name) for name in node.outputs]
