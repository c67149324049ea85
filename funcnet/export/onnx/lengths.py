"""Open lengths in a graph: each is computed once, from the shapes of the inputs."""

import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.core.errors import ExportError

if TYPE_CHECKING:
    from funcnet.export.onnx.graph import Graph, Value

__all__ = ["Lengths"]


class Lengths:
    """Turns lengths into scalars and shapes into vectors of int64.

    JAX's symbolic lengths are read by their texts, which are what `jax.export.symbolic_shape` takes: sums, products
    and powers of names, ``floordiv``, ``mod``, ``max`` and ``min``.
    """

    def __init__(self, graph: "Graph"):
        self.graph = graph
        self.known: dict[str, Value] = {}

    def learn(self, length: Any, value: "Value", axis: int) -> None:
        """Note that an axis of an input has this length, if it is open and says what a name stands for."""
        for name, expression in _solved(str(length)):
            if name not in self.known:
                whole = self.graph.node("Shape", [value], dtype=np.int64, shape=(value.ndim,))
                index = self.graph.scalar(axis)
                found = self.graph.node("Gather", [whole, index], dtype=np.int64, shape=(), axis=0)
                self.known["_"] = found
                self.known[name] = self._evaluated(expression)
                del self.known["_"]

    def scalar(self, length: Any) -> "Value":
        """Give a length as a scalar."""
        number = as_number(length)
        if number is not None:
            return self.graph.scalar(number)
        text = str(length)
        if text not in self.known:
            self.known[text] = self._evaluated(_parsed(text))
        return self.known[text]

    def vector(self, shape: Sequence[Any]) -> "Value":
        """Give a shape as a vector."""
        numbers = [as_number(length) for length in shape]
        if None not in numbers:
            return self.graph.constant(np.array(numbers, np.int64))
        text = f"({', '.join(map(str, shape))},)"
        if text not in self.known:
            self.known[text] = self._joined(shape)
        return self.known[text]

    def _joined(self, shape: Sequence[Any]) -> "Value":
        axis = self.graph.ints([0])
        parts = []
        for length in shape:
            number = as_number(length)
            if number is not None:
                parts.append(self.graph.ints([number]))
            else:
                parts.append(self._node("Unsqueeze", self.scalar(length), axis, shape=(1,)))
        if len(parts) == 1:
            return parts[0]
        return self.graph.node("Concat", parts, dtype=np.int64, shape=(len(parts),), axis=0)

    def _node(self, op_type: str, *inputs: "Value", shape: tuple[int, ...] = ()) -> "Value":
        return self.graph.node(op_type, inputs, dtype=np.int64, shape=shape)

    def _evaluated(self, tree: ast.expr) -> "Value":
        """Compute an expression; what it is made of is computed once too."""
        text = ast.unparse(tree)
        if text not in self.known:
            self.known[text] = self._computed(tree)
        return self.known[text]

    def _computed(self, tree: ast.expr) -> "Value":
        match tree:
            case ast.Constant(value=int(number)):
                return self.graph.scalar(number)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._node("Neg", self._evaluated(operand))
            case ast.BinOp(op=ast.Pow(), left=left, right=ast.Constant(value=int(power))):
                base = made = self._evaluated(left)
                for _ in range(power - 1):
                    made = self._node("Mul", made, base)
                return made
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _ARITHMETIC:
                return self._node(
                    _ARITHMETIC[type(op)], self._evaluated(left), self._evaluated(right)
                )
            case ast.Call(func=ast.Name(id=name), args=[left, right]) if name in _FUNCTIONS:
                made = [self._evaluated(left), self._evaluated(right)]
                return (
                    self._floored(*made)
                    if name == "floordiv"
                    else self._node(_FUNCTIONS[name], *made)
                )
        raise ExportError(
            f"a length is {ast.unparse(tree)}, and nothing says how long that is: an input must have an axis of "
            "that length"
        )

    def _floored(self, left: "Value", right: "Value") -> "Value":
        """Divide and round down: ONNX's own division rounds towards 0; its Mod has the divisor's sign."""
        rest = self._node("Mod", left, right)
        return self._node("Div", self._node("Sub", left, rest), right)


_ARITHMETIC = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
_FUNCTIONS = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min"}


def as_number(length: Any) -> int | None:
    """Return a length that is fixed as a number; None for an open one.

    >>> from funcnet.export.onnx.lengths import as_number
    >>> as_number(3), as_number(jax.export.symbolic_shape("batch")[0])
    (3, None)
    """
    return int(length) if isinstance(length, int | np.integer) else None


def _parsed(text: str) -> ast.expr:
    return ast.parse(text.replace("^", "**"), mode="eval").body


def _solved(text: str) -> list[tuple[str, ast.expr]]:
    """Say what a name is if ``_`` is the length: of ``batch``, ``2*batch`` and ``2*batch + 1``."""
    tree = _parsed(text)
    rest: ast.expr = ast.Name("_")
    while True:
        match tree:
            case ast.Name(id=name):
                return [(name, rest)]
            case ast.BinOp(op=ast.Add(), left=inner, right=ast.Constant(value=number)):
                tree, rest = inner, ast.BinOp(rest, ast.Sub(), ast.Constant(number))
            case ast.BinOp(op=ast.Sub(), left=inner, right=ast.Constant(value=number)):
                tree, rest = inner, ast.BinOp(rest, ast.Add(), ast.Constant(number))
            case ast.BinOp(op=ast.Mult(), left=ast.Constant(value=number), right=inner):
                call = ast.Call(ast.Name("floordiv"), [rest, ast.Constant(number)], [])
                tree, rest = inner, call
            case _:
                return []
