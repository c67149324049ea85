"""The last touches to a graph: outputs get their names, and nodes go that no output needs."""

from collections.abc import Iterator, Sequence

import jax.numpy as jnp

from funcnet.export.onnx.graph import Graph, GraphNode, Value, carried

__all__ = ["all_nodes", "count_operators", "name_outputs", "prune"]


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
    """Make floats of 16 bits of what was carried as float32."""
    if carried(value.dtype) == value.dtype:
        return value
    narrow = graph.node("Cast", [value], shape=value.shape, dtype=value.dtype)
    graph.nodes[-1].attributes["to"] = jnp.dtype(value.dtype)
    return narrow


def _rename(graph: Graph, renamed: dict[str, str]) -> None:
    for node in all_nodes(graph):
        node.inputs = [renamed.get(name, name) for name in node.inputs]
        node.outputs = [renamed.get(name, name) for name in node.outputs]


def prune(graph: Graph) -> None:
    """Take out nodes whose outputs nothing reads, in bodies too."""
    needed = {each.name for each in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed.isdisjoint(node.outputs):
            continue
        for body in _bodies(node):
            prune(body)
        needed |= _reads(node)
        kept.append(node)
    graph.nodes = kept[::-1]


def _bodies(node: GraphNode) -> list[Graph]:
    return [each for each in node.attributes.values() if isinstance(each, Graph)]


def _reads(node: GraphNode) -> set[str]:
    """List the names that a node, or a body of it, reads from the graph that it stands in."""
    names = set(filter(None, node.inputs))
    for body in _bodies(node):
        made = {each.name for each in body.inputs}
        for inner in body.nodes:
            names |= _reads(inner) - made
            made |= set(inner.outputs)
    return names


def all_nodes(graph: Graph) -> Iterator[GraphNode]:
    """Yield every node, those of bodies too."""
    for node in graph.nodes:
        yield node
        for body in _bodies(node):
            yield from all_nodes(body)


def count_operators(graph: Graph) -> dict[str, int]:
    """Count nodes by operator, most frequent first."""
    names = [node.op_type for node in all_nodes(graph)]
    counts = {name: names.count(name) for name in sorted(set(names))}
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
