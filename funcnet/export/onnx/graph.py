"""An ONNX graph while it is made: nodes and constants under names, values with shapes that may be open.

What a rule of an operation needs (`funcnet.export.operators`)::

    def logistic(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        return [graph.node("Sigmoid", operands)]

    graph.node("Add", [x, y])                                  one output: a Value
    graph.node("TopK", [x, k], count=2, axis=1)                several: a list of them
    graph.node("Cast", [x], dtype=jnp.float32)                 Cast, CastLike, ...: the dtype that comes out
    graph.node("Clip", [x, None, high])                        None: an input that is left out
    graph.constant(np.array([1, 2], np.int64))                 equal constants are stored once
    graph.scalar(0.5, x.dtype)                                 a constant of that dtype, without axes
    graph.dims((x.shape[0], -1, 4))                            a shape as a value, whose lengths may be open
    graph.length(n)                                            one such length, a scalar of int64
    graph.reshape(x, shape), graph.expand(x, shape), graph.transpose(x, axes), graph.cast(x, dtype)
    graph.subgraph(names_and_types, build)                     a body for If, Loop and Scan

What a rule returns is given the shapes and dtypes of the operation's results afterwards, so only values between its
own nodes need a shape or a dtype, and only where the rule itself asks for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import DType
from funcnet.export.onnx.lengths import Lengths

__all__ = ["Graph", "GraphNode", "Value", "carried"]


@dataclass(eq=False)
class Value:
    """Something that flows between nodes.

    Attributes:
        name: in the graph; empty for a constant that no node has used yet.
        shape: lengths: numbers, or JAX's symbolic lengths, which can be compared, added and multiplied; None where
            a rule did not say.
        dtype: JAX's dtype. Of floats of 16 bits the graph itself carries float32, because ONNX Runtime computes
            nothing in bfloat16 on CPUs, and little in float16: see `carried`.
        array: the numbers of a constant (NumPy's; `jax.Array` for random keys), or None. A weight is no constant.
        weight: the dotted name of the weight that it is, or that it is only another view of.
        narrow: the same numbers before axes of length 1 were repeated, for operators that repeat them on their own.
    """

    name: str
    shape: tuple[Any, ...] | None
    dtype: Any
    array: Any = None
    weight: str | None = None
    narrow: "Value | None" = None

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape or ())

    @property
    def is_constant(self) -> bool:
        """Whether its numbers are known now."""
        return self.array is not None


@dataclass(eq=False)
class GraphNode:
    """One node; attributes may be numbers, words, lists of them, arrays, and `Graph` for bodies."""

    op_type: str
    inputs: list[str]
    outputs: list[str]
    name: str
    attributes: dict[str, Any] = field(default_factory=dict)


Input = Value | None


def carried(dtype: DType) -> np.dtype:
    """Return the dtype in which a graph carries numbers of this one: float32 for floats of 16 bits, else itself.

    They are not rounded on the way, as XLA need not do either, only where they come in and go out: every rounding
    would be two nodes, and the results further from the truth.
    """
    dtype = jnp.dtype(dtype)
    return np.dtype(np.float32) if dtype in _SHORT else dtype


_SHORT = (np.dtype(np.float16), jnp.dtype(jnp.bfloat16))


class Shared:
    """What a model's graph and all bodies in it have in common: names, constants, open lengths, and the scope."""

    def __init__(self) -> None:
        self.taken: dict[str, int] = {}
        self.constants: dict[Any, Value] = {}
        self.initializers: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[Any, ...]] = {}  # of values that operations of JAX made
        self.dtypes: dict[str, np.dtype] = {}
        self.scope = ""
        self.opset = 20

    def note(self, value: Value) -> None:
        """Remember what shape a value has, and in which dtype it is carried."""
        if value.name and value.shape is not None:
            self.shapes[value.name] = value.shape
            if not jnp.issubdtype(
                value.dtype, jax.dtypes.prng_key
            ):  # keys are numbers of other kinds
                self.dtypes[value.name] = carried(value.dtype)

    def unique(self, wanted: str) -> str:
        """Give a name that nothing else has."""
        count = self.taken.get(wanted, 0)
        self.taken[wanted] = count + 1
        if not count:
            return wanted
        return self.unique(f"{wanted}_{count}")


class Graph:
    """A graph, or the body of an If, a Loop or a Scan: a body sees the values of the graphs around it."""

    def __init__(self, outer: "Graph | None" = None):
        self.shared: Shared = outer.shared if outer else Shared()
        self.root: Graph = outer.root if outer else self
        self.nodes: list[GraphNode] = []
        self.inputs: list[Value] = []
        self.outputs: list[Value] = []
        self.lengths: Lengths = outer.lengths if outer else Lengths(self)

    # ---- nodes -----------------------------------------------------------------------------------

    def node(
        self,
        op_type: str,
        inputs: Sequence[Input],
        count: int = 1,
        *,
        dtype: DType | None = None,
        shape: Sequence[Any] | None = None,
        **attributes: Any,
    ) -> Any:
        """Add a node.

        Args:
            op_type: ONNX's name of the operator.
            inputs: values; None for an optional one that is left out.
            count: the number of outputs.
            dtype: of the outputs; without it that of the first input. For a ``Cast`` it is the attribute too.
            shape: of the outputs, if whoever gets them asks.
            **attributes: as ONNX has them: numbers, words, lists, NumPy arrays, a `Graph`; None is left out.

        Returns:
            A `Value`, or a list of ``count`` of them if that is more than one.
        """
        first = next((each for each in inputs if each is not None), None)
        made_of = jnp.dtype(dtype or (first.dtype if first is not None else jnp.float32))
        if op_type == "Cast":
            attributes["to"] = carried(made_of)
        name = self.shared.unique("/".join(filter(None, (self.shared.scope, op_type))))
        outputs = [f"{name}_output" + (f"_{i}" if i else "") for i in range(count)]
        used = [self.use(each) for each in inputs]
        while used and not used[-1]:
            used.pop()
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(GraphNode(op_type, used, outputs, name, given))
        fixed = None if shape is None else tuple(shape)
        values = [Value(self.shared.unique(each), fixed, made_of) for each in outputs]
        self.nodes[-1].outputs = [each.name for each in values]
        return values[0] if count == 1 else values

    def use(self, value: Input) -> str:
        """Return the name under which a node reads a value; a constant is stored when it is first read."""
        if value is None:
            return ""
        if not value.name:
            value.name = self.constant(value.array).name
        return value.name

    # ---- constants -------------------------------------------------------------------------------

    def constant(self, array: Any, name: str = "constant") -> Value:
        """Store numbers in the model; what is equal is stored once.

        Floats of 16 bits are stored as float32.
        """
        numbers = np.asarray(array)
        dtype = numbers.dtype
        numbers = np.asarray(numbers, carried(dtype), order="C")
        key = (str(dtype), numbers.shape, numbers.tobytes())
        found = self.shared.constants.get(key)
        if found is None:
            found = Value(self.shared.unique(name), numbers.shape, dtype, np.asarray(array))
            self.shared.constants[key] = found
            self.shared.initializers[found.name] = numbers
        return found

    def scalar(self, number: Any, dtype: DType = np.int64) -> Value:
        """Store one number, without axes, in a dtype."""
        return self.constant(np.asarray(number).astype(jnp.dtype(dtype)))

    def ints(self, numbers: Sequence[int]) -> Value:
        """Store whole numbers as ONNX takes axes, pads and the like: a vector of int64."""
        return self.constant(np.asarray(list(numbers), np.int64))

    def weight(self, name: str, array: Any) -> Value:
        """Store an array of the model under its dotted name; one in 16 bits is widened where it is read."""
        stored = np.asarray(array)
        own = self.shared.unique(name)
        self.shared.initializers[own] = stored
        if carried(stored.dtype) == stored.dtype:
            return Value(own, stored.shape, stored.dtype, weight=name)
        wide = self.node("Cast", [Value(own, stored.shape, stored.dtype)], dtype=np.float32)
        return Value(wide.name, stored.shape, stored.dtype, weight=name)

    # ---- shapes ----------------------------------------------------------------------------------

    def length(self, length: Any) -> Value:
        """Give a length, open or not, as a scalar of int64; open ones are computed from the inputs' shapes."""
        return self.lengths.scalar(length)

    def dims(self, shape: Sequence[Any]) -> Value:
        """Give a shape as a vector of int64; its lengths may be open."""
        return self.lengths.vector(shape)

    def reshape(self, value: Value, shape: Sequence[Any]) -> Value:
        """Give the same numbers another shape; a length of 0 is 0."""
        if value.shape is not None and _same(value.shape, shape):
            return value
        dims = self.dims(shape)
        return self.node("Reshape", [value, dims], shape=shape, allowzero=1)

    def expand(self, value: Value, shape: Sequence[Any]) -> Value:
        """Repeat along axes of length 1, and new leading axes, to a shape."""
        if value.shape is not None and _same(value.shape, shape):
            return value
        return self.node("Expand", [value, self.dims(shape)], shape=shape)

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        """Put the axes into an order."""
        order = list(axes)
        if order == list(range(len(order))):
            return value
        shape = None if value.shape is None else [value.shape[i] for i in order]
        return self.node("Transpose", [value], shape=shape, perm=order)

    def unsqueeze(self, value: Value, axes: Sequence[int]) -> Value:
        """Put axes of length 1 at these places of the result."""
        return self.node("Unsqueeze", [value, self.ints(axes)]) if axes else value

    def squeeze(self, value: Value, axes: Sequence[int]) -> Value:
        """Take axes of length 1 away."""
        return self.node("Squeeze", [value, self.ints(axes)]) if axes else value

    def cast(self, value: Value, dtype: DType) -> Value:
        """Convert, as ONNX's Cast does; float32 to floats of 16 bits without rounding: see `carried`."""
        dtype = jnp.dtype(dtype)
        if value.dtype == dtype:
            return value
        if carried(value.dtype) == carried(dtype):
            return Value(self.use(value), value.shape, dtype, weight=value.weight)
        if dtype in _SHORT:
            return self.rounded(value, dtype)
        return self.node("Cast", [value], shape=value.shape, dtype=dtype)

    def rounded(self, value: Value, dtype: DType) -> Value:
        """Round to floats of 16 bits, which are carried on in 32."""
        short = self.node("Cast", [value], shape=value.shape, dtype=dtype)
        self.nodes[-1].attributes["to"] = jnp.dtype(dtype)
        wide = self.node("Cast", [short], shape=value.shape, dtype=np.float32)
        return Value(wide.name, value.shape, jnp.dtype(dtype))

    # ---- bodies ----------------------------------------------------------------------------------

    def subgraph(
        self,
        inputs: Sequence[tuple[str, Sequence[Any], DType]],
        build: Callable[["Graph", list[Value]], Sequence[Value]],
    ) -> "Graph":
        """Make a body for If, Loop or Scan, to be given as an attribute.

        Args:
            inputs: a name (made unique), a shape and a dtype for each input.
            build: gets the body and its inputs, adds nodes to it, and returns its outputs. It may use values of the
                graphs around it.

        Returns:
            The body: ``graph.node("If", [test], then_branch=body, else_branch=other)``.
        """
        body = Graph(self)
        for name, shape, dtype in inputs:
            body.input(name, shape, dtype)
        for value in build(body, list(body.inputs)):
            body.output(value)
        return body

    def input(self, name: str, shape: Sequence[Any], dtype: DType) -> Value:
        """Add an input."""
        value = Value(self.shared.unique(name), tuple(shape), jnp.dtype(dtype))
        self.shared.note(value)
        self.inputs.append(value)
        return value

    def output(self, value: Value, name: str | None = None) -> None:
        """Make a value an output: one of a node of this very graph, under a name of its own."""
        made = {each for node in self.nodes for each in node.outputs}
        taken = {each.name for each in self.outputs}
        if name is None and value.name in made - taken:
            self.outputs.append(value)
            return
        own = self.node("Identity", [value], shape=value.shape, dtype=value.dtype)
        if name is not None:
            self.nodes[-1].outputs = [name]
            own.name = name
        self.outputs.append(own)


def _same(left: Sequence[Any], right: Sequence[Any]) -> bool:
    return len(left) == len(right) and all(a == b for a, b in zip(left, right, strict=True))
