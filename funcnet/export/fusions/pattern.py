"""Find in a graph what a few nodes compute together: patterns as nested tuples."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from funcnet.export.onnx.finishing import all_nodes
from funcnet.export.onnx.graph import Graph, GraphNode

__all__ = ["ANY", "Named", "NodePattern", "Search"]

NodePattern: TypeAlias = Any
"""A number: a constant of that value. A word: anything, the same wherever the word stands. A tuple: an operator and
patterns of its inputs. `Named`: a pattern whose value has a name from then on. `ANY`."""

ANY = object()

_MOST_REPEATED = 64
"""So many equal numbers a graph may hold where one is meant."""

_EITHER_ORDER = {"Add", "And", "Equal", "Max", "Min", "Mul", "Or"}


@dataclass(frozen=True)
class Named:
    """A pattern, and a word for the value that fits it."""

    word: str
    pattern: NodePattern


class Search:
    """What a graph is made of, by the names of values.

    Args:
        graph: of which only its own nodes are looked at, and the constants of all graphs around it.
        outputs: names of values that are read outside of it.
    """

    def __init__(self, graph: Graph, outputs: Iterable[str] = ()):
        self.graph = graph
        self.makers = {output: node for node in graph.nodes for output in node.outputs}
        self.constants = {each.name for each in graph.shared.constants.values()}
        self.uses = Counter(name for node in all_nodes(graph) for name in node.inputs)
        self.uses.update(outputs)

    def match(self, node: GraphNode, pattern: NodePattern) -> dict[str, str] | None:
        """Fit a pattern to the first output of a node: the names of values by the pattern's words, or None."""
        return next(self._fits(node.outputs[0], pattern, {}), None)

    def maker(self, name: str, op_type: str) -> GraphNode | None:
        """Return the node that makes a value, if it is of that operator."""
        node = self.makers.get(name)
        return node if node is not None and node.op_type == op_type else None

    def array(self, name: str) -> np.ndarray | None:
        """Return the numbers of a constant, also of one that is only given other axes of length 1."""
        if name in self.constants:
            return self.graph.shared.initializers[name]
        node = self.maker(name, "Unsqueeze")
        if node is None:
            return None
        inner, axes = (self.array(each) for each in node.inputs)
        return None if inner is None or axes is None else np.expand_dims(inner, tuple(axes))

    def number(self, name: str) -> Any:
        """Return the one number that a constant is, repeated perhaps, or None."""
        array = self.array(name)
        if array is None or not 0 < array.size <= _MOST_REPEATED:
            return None
        first = array.ravel()[:1]
        return (
            first.item() if np.array_equal(array.ravel(), first.repeat(array.size), True) else None
        )

    def integers(self, name: str) -> list[int] | None:
        """Return the whole numbers that a constant is, or None."""
        array = self.array(name)
        return None if array is None or array.dtype.kind != "i" else array.ravel().tolist()

    def shape(self, name: str) -> tuple[Any, ...] | None:
        """Return a value's shape, as far as it is known."""
        stored = self.graph.shared.initializers.get(name)
        return self.graph.shared.shapes.get(name) if stored is None else stored.shape

    def dtype(self, name: str) -> Any:
        """Return the dtype in which a value is carried, if it is known."""
        stored = self.graph.shared.initializers.get(name)
        return self.graph.shared.dtypes.get(name) if stored is None else stored.dtype

    def keeps_shape(self, name: str, node: GraphNode) -> bool:
        """Say whether a node's output has the shape of a value: a constant with more axes may have added some."""
        return self.shape(name) == self.shape(node.outputs[0]) is not None

    def _fits(
        self, name: str, pattern: NodePattern, words: Mapping[str, str]
    ) -> Iterator[dict[str, str]]:
        """Yield each way in which a pattern fits a value."""
        if pattern is ANY:
            yield dict(words)
        elif isinstance(pattern, str):
            if words.get(pattern, name) == name:
                yield {**words, pattern: name}
        elif isinstance(pattern, Named):
            for found in self._fits(name, pattern.pattern, words):
                if found.get(pattern.word, name) == name:
                    yield {**found, pattern.word: name}
        elif isinstance(pattern, tuple):
            yield from self._fits_node(name, pattern, words)
        elif self._is(name, pattern):
            yield dict(words)

    def _is(self, name: str, number: float) -> bool:
        found = self.number(name)
        return found is not None and bool(np.isclose(found, number, 1e-6, 0, equal_nan=True))

    def _fits_node(
        self, name: str, pattern: tuple[Any, ...], words: Mapping[str, str]
    ) -> Iterator[dict[str, str]]:
        op_type, *parts = pattern
        node = self.maker(name, op_type)
        if node is None or len(node.inputs) != len(parts):
            return
        orders = [node.inputs]
        if op_type in _EITHER_ORDER:
            orders.append(node.inputs[::-1])
        for inputs in orders:
            yield from self._fits_all(inputs, parts, words)

    def _fits_all(
        self, names: list[str], patterns: list[NodePattern], words: Mapping[str, str]
    ) -> Iterator[dict[str, str]]:
        if not names:
            yield dict(words)
            return
        for found in self._fits(names[0], patterns[0], words):
            yield from self._fits_all(names[1:], patterns[1:], found)
