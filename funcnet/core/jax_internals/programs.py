"""Traced functions: which operations they are made of, and which line of Python asked for each.

Why: a search for the first NaN, strictness, and gradient norms that form no gradient all need to see
which operations a function is made of; so will every exporter. JAX documents jaxprs as readable ("Writing
custom interpreters") without promising their attributes. When one is renamed, it is renamed here.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun, primitives

__all__ = [
    "Branches",
    "Frame",
    "MatrixProduct",
    "Operation",
    "Program",
    "ScanLoop",
    "WhileLoop",
    "trace",
    "walk",
]

_WITH_RULE = {primitives.custom_jvp_call_p, primitives.custom_vjp_call_p}
_CALLS = _WITH_RULE | {
    primitives.call_p,
    primitives.closed_call_p,
    primitives.jit_p,
    primitives.remat_p,
}
_SAME_NUMBERS = {
    primitives.convert_element_type_p,
    primitives.copy_p,
    primitives.reduce_precision_p,
    primitives.transpose_p,
}

_SCOPE = re.compile(r"([^/()]+)(\(?)")
"""A name in the list of scopes around an operation; one that opens a parenthesis is a transform."""


class Frame(NamedTuple):
    """A line of Python that asked for an operation."""

    file: str
    line: int
    function: str


class MatrixProduct(NamedTuple):
    """Which axes of both operands a product (``dot_general``) sums over, and which it runs along."""

    contracted: tuple[tuple[int, ...], tuple[int, ...]]
    batch: tuple[tuple[int, ...], tuple[int, ...]]


class Program:
    """A traced function: its operations in order, and the constants that they read."""

    def __init__(self, jaxpr: Any):
        # until JAX 0.10 a jaxpr may come without its constants; since 0.11 it always holds them
        self.closed = jaxpr if hasattr(jaxpr, "consts") else ClosedJaxpr(jaxpr, ())
        self.jaxpr = self.closed.jaxpr

    def __call__(self, *arguments: Any) -> list[Any]:
        """Run the whole program, as one function that can be traced and differentiated."""
        return jaxpr_as_fun(self.closed)(*arguments)

    @property
    def constants(self) -> list[Any]:
        """The arrays that it closes over; those that are traced are among them, others may be."""
        return list(self.closed.consts)

    def with_constants(self, constants: Sequence[Any]) -> "Program":
        """Return the same program, closed over other arrays of the same types."""
        return Program(ClosedJaxpr(self.jaxpr, constants))

    @property
    def operations(self) -> list["Operation"]:
        """The operations in the order in which they run."""
        return [Operation(equation, number) for number, equation in enumerate(self.jaxpr.eqns)]

    @property
    def arguments(self) -> list[Any]:
        """The types of the arguments: each has a ``shape`` and a ``dtype``."""
        return [variable.aval for variable in self.jaxpr.invars]

    @property
    def results(self) -> list[Any]:
        """The types of the results."""
        return [atom.aval for atom in self.jaxpr.outvars]


@dataclass(frozen=True)
class ScanLoop:
    """A loop over rows: the first operands are shared by all turns, the next carried, the rest rows."""

    body: Program
    length: int
    reverse: bool
    shared: int
    carried: int

    def written_out(
        self, operands: Sequence[Any], turn: Callable[[int, list[Any]], Sequence[Any]]
    ) -> list[Any]:
        """Make its turns one by one.

        Args:
            operands: of the loop, which has one turn at least.
            turn: takes the number of a turn and the body's arguments; returns the body's results.

        Returns:
            The loop's results.
        """
        end = self.shared + self.carried
        shared, carry, xs = operands[: self.shared], operands[self.shared : end], operands[end:]
        order = range(self.length)
        rows: dict[int, Sequence[Any]] = {}
        for number in reversed(order) if self.reverse else order:
            outputs = turn(number, [*shared, *carry, *(x[number] for x in xs)])
            carry, rows[number] = outputs[: self.carried], outputs[self.carried :]
        columns = zip(*(rows[number] for number in order), strict=True)
        return [*carry, *map(jnp.stack, columns)]


@dataclass(frozen=True)
class WhileLoop:
    """A loop while a test holds: operands for the test alone, for the body alone, then the state."""

    test: Program
    test_operands: int
    body: Program
    body_operands: int


@dataclass(frozen=True)
class Branches:
    """A choice: the first operand is the number of the program that gets the other operands."""

    programs: tuple[Program, ...]


@dataclass(frozen=True)
class Operation:
    """One operation of a program."""

    equation: Any
    number: int
    """Its place in its program."""

    @property
    def name(self) -> str:
        """JAX's name of it, for people to read."""
        return self.equation.primitive.name

    @property
    def operands(self) -> list[Any]:
        """The types of its operands."""
        return [atom.aval for atom in self.equation.invars]

    @property
    def results(self) -> list[Any]:
        """The types of its results: each has a ``shape`` and a ``dtype``."""
        return [atom.aval for atom in self.equation.outvars]

    @property
    def only_acts(self) -> bool:
        """Whether it has an effect (prints, calls back) and no result."""
        return bool(self.equation.effects) and not self.equation.outvars

    @property
    def acts(self) -> bool:
        """Whether it has an effect besides its results: it prints, calls back, or fails."""
        return bool(self.equation.effects)

    @property
    def called(self) -> Program | None:
        """The program that it calls, if a call is all that it is."""
        if self.equation.primitive not in _CALLS:
            return None
        for value in self.equation.params.values():
            jaxpr = getattr(value, "jaxpr", value)
            if isinstance(jaxpr, Jaxpr) and len(jaxpr.invars) == len(self.equation.invars):
                return Program(value)
        return None

    @property
    def donated(self) -> tuple[bool, ...]:
        """Of the call of a jitted function, which operands it may overwrite; empty for others."""
        return tuple(self.equation.params.get("donated_invars", ()))

    @property
    def called_name(self) -> str:
        """The name of the function that it calls under `jax.jit`; empty for anything else."""
        if self.equation.primitive is not primitives.jit_p:
            return ""
        return str(self.equation.params.get("name", ""))

    @property
    def has_derivative_rule(self) -> bool:
        """Whether it is a call whose derivative is not that of what it calls."""
        return self.equation.primitive in _WITH_RULE

    @property
    def keeps_numbers(self) -> bool:
        """Whether its result is its operand's numbers, in another type or order of axes."""
        return self.equation.primitive in _SAME_NUMBERS

    @property
    def product(self) -> MatrixProduct | None:
        """What is multiplied with what, if it is a product of matrices or tensors."""
        if self.equation.primitive is not primitives.dot_general_p:
            return None
        contracted, batch = self.equation.params["dimension_numbers"]
        return MatrixProduct(contracted, batch)

    @property
    def control(self) -> ScanLoop | WhileLoop | Branches | None:
        """The programs that it runs, if it is a loop or a choice."""
        primitive, params = self.equation.primitive, self.equation.params
        if primitive is primitives.scan_p:
            return self._scan_loop(Program(params["jaxpr"]))
        if primitive is primitives.while_p:
            test, body = Program(params["cond_jaxpr"]), Program(params["body_jaxpr"])
            return WhileLoop(test, params["cond_nconsts"], body, params["body_nconsts"])
        if primitive is primitives.cond_p:
            return Branches(tuple(map(Program, params["branches"])))
        return None

    def _scan_loop(self, body: Program) -> ScanLoop:
        # the parameters that count what is shared and carried changed between releases; but a row has one
        # axis less inside than outside, and what is shared or carried has as many
        outer, inner = self.equation, body.jaxpr
        carried = sum(map(_same_rank, outer.outvars, inner.outvars))
        shared = sum(map(_same_rank, outer.invars, inner.invars)) - carried
        params = outer.params
        return ScanLoop(body, params["length"], params["reverse"], shared, carried)

    def evaluate(self, operands: Sequence[Any]) -> list[Any]:
        """Do the operation."""
        primitive = self.equation.primitive
        outputs = primitive.bind(*operands, **primitive.get_bind_params(self.equation.params))
        return list(outputs) if primitive.multiple_results else [outputs]

    @property
    def scope(self) -> str:
        """The innermost ``jax.named_scope`` around it, without the transforms that JAX notes there.

        JAX writes ``transpose(jvp(layers.0))``, ``layers.0/vmap()`` and ``layers.0/rematted_computation``. If it
        stops doing so, the report of a NaN names the operation and the line, but no module.
        """
        return next(iter(reversed(self.scopes)), "")

    @property
    def scopes(self) -> list[str]:
        """All scopes around it within its program, outermost first; see `scope`."""
        names = [name for name, opens in _SCOPE.findall(self._scopes) if not opens]
        return [name for name in names if name != "rematted_computation"]

    @property
    def is_transposed(self) -> bool:
        """Whether JAX made it while it turned a derivative round: a part of a backward pass."""
        return "transpose(" in self._scopes

    @property
    def _scopes(self) -> str:
        return str(self.equation.source_info.name_stack)

    @property
    def frames(self) -> Iterator[Frame]:
        """The lines of Python that asked for it, innermost first; none if JAX kept none."""
        for frame in getattr(self.equation.source_info.traceback, "frames", ()):
            yield Frame(frame.file_name, frame.line_num, frame.function_name)


def _same_rank(outer: Any, inner: Any) -> bool:
    return len(outer.aval.shape) == len(inner.aval.shape)


def trace(fun: Callable[..., Any], *arguments: Any) -> tuple[Program, Any]:
    """Trace a function of trees: its program, and the tree of its outputs' shapes and types."""
    jaxpr, outputs = jax.make_jaxpr(fun, return_shape=True)(*arguments)
    return Program(jaxpr), outputs


def walk(
    program: Program,
    arguments: Sequence[Any],
    visit: Callable[[Operation, list[Any]], Sequence[Any]],
    constant: Callable[[Any], Any] = lambda value: value,
) -> list[Any]:
    """Let values of any kind flow through a program, operation by operation.

    The values may be arrays, which makes this an interpreter, or whatever an analysis wants to know of
    each array. Operations are not entered by themselves: ``visit`` walks on in ``operation.called`` or
    ``operation.control`` where it wants to.

    Args:
        program: what to walk through.
        arguments: one value for each argument of the program.
        visit: takes an operation and its operands' values, and returns one value for each result.
        constant: what flows from a constant: its own numbers, unless told otherwise.

    Returns:
        The values of the program's results.

    >>> from funcnet.core.jax_internals.programs import trace, walk
    >>> program, _ = trace(lambda x, y: (x * 2 + 1, y), 1.0, 2.0)
    >>> depth = lambda operation, operands: [1 + max(operands)]
    >>> walk(program, [0, 0], depth, constant=lambda value: 0)
    [2, 0]
    """
    jaxpr = program.jaxpr
    # constants that a program holds have variables of their own; single numbers stand where they are used
    held = map(constant, program.closed.consts)
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, held, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return constant(atom.val) if isinstance(atom, Literal) else values[atom]

    for operation in program.operations:
        results = visit(operation, list(map(read, operation.equation.invars)))
        values.update(zip(operation.equation.outvars, results, strict=True))
    return list(map(read, jaxpr.outvars))
