"""All that funcnet takes from JAX beyond its documented, stable names, and nothing else.

`jax.extend`, `jax.experimental` and the attributes of a traced function (a jaxpr) may change in any
release of JAX. So they are used here alone (`tests/meta/test_jax_internals.py` holds that), and each use
says why it is needed and what to do when it goes away. Importing this module fails at once, naming what
is missing, if a release renames an operation: operations are told apart by JAX's objects, not by their
names, which do change (``closed_call`` has been called ``eval_jaxpr`` since 0.11).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import (
    ClosedJaxpr,
    Jaxpr,
    Literal,
    Primitive,
    get_opaque_trace_state,
    jaxpr_as_fun,
    primitives,
)
from jax.interpreters import ad, batching, mlir

__all__ = [
    "Branches",
    "Frame",
    "MatrixProduct",
    "Operation",
    "Program",
    "ScanLoop",
    "WhileLoop",
    "linear_with_transpose",
    "reset_compilation_cache",
    "trace",
    "trace_state",
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


def trace_state() -> Any:
    """Return a token of the trace that is running now; two are equal if it is the same trace.

    Why: a bound module must refuse a write from inside a ``vmap``, ``scan`` or ``cond`` that was opened
    within its call, and JAX has no documented way to ask. When it goes away: return a constant; such
    writes then end in JAX's own error about a leaked tracer, which does not name the attribute.
    """
    return get_opaque_trace_state(convention="flax")


def reset_compilation_cache() -> None:
    """Make JAX read its settings of the compilation cache again.

    Why: a process that has compiled something before the cache was switched on remembers that there was
    none. When it goes away: drop the call, and have `compilation_cache` raise once JAX has compiled.
    """
    from jax.experimental.compilation_cache import compilation_cache

    compilation_cache.reset_cache()


# ---- linear functions with a transpose of their own


def linear_with_transpose(
    function: Callable[[Any, Any], Any],
    transpose: Callable[[Any, Any], Any],
    residuals: Any,
    operands: Any,
) -> Any:
    """Apply a linear function of some arrays, whose transpose is computed by another function.

    A ``jax.custom_jvp`` rule returns this as its tangent, to have a backward pass of its own that uses what the
    forward pass found. ``jax.custom_vjp`` would take forward mode and derivatives of derivatives away.

    Why: `jax.custom_derivatives.linear_call` has no rule for ``vmap``, and none for residuals that change.
    When it goes away: return ``function(residuals, operands)``; gradients then stay right, but cost more.

    Args:
        function: of the residuals and the operands, linear in the operands; it closes over no traced array.
        transpose: of the residuals and the cotangents of ``function``'s output: the operands' cotangents, in
            a tree like theirs. Second derivatives differentiate it: it may be a ``jax.custom_jvp``.
        residuals: a tree of arrays that both need.
        operands: a tree of arrays of floats.

    Returns:
        ``function(residuals, operands)``.
    """
    if jax.sharding.get_abstract_mesh().manual_axes:
        # in `shard_map` a cotangent varies over devices if anything does, and so must its operand: JAX then sums
        empty = [x.ravel()[:0].astype(jnp.float32) for x in jax.tree.leaves((residuals, operands))]
        nothing = jnp.concatenate(empty).sum()
        operands = jax.tree.map(lambda x: x + nothing.astype(x.dtype), operands)
    flat, tree = jax.tree.flatten((residuals, operands))
    program, outputs = trace(function, residuals, operands)
    types = tuple(variable.aval for variable in program.jaxpr.outvars)
    ends = _Ends(function, transpose, tree, jax.tree.structure(outputs))
    return jax.tree.unflatten(ends.outputs, _linear.bind(*flat, ends=ends, types=types))


class _Ends(NamedTuple):
    function: Callable[[Any, Any], Any]
    transpose: Callable[[Any, Any], Any]
    inputs: Any
    outputs: Any


def _linear_run(*flat: Any, ends: _Ends, types: Any) -> list[Any]:
    return jax.tree.leaves(ends.function(*ends.inputs.unflatten(flat)))


def _linear_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, ends: _Ends, types: Any) -> Any:
    moves = [not isinstance(tangent, ad.Zero) for tangent in tangents]

    def run(*moving: Any) -> list[Any]:
        rest = iter(moving)
        flat = [next(rest) if m else x for m, x in zip(moves, primals, strict=True)]
        return _linear_run(*flat, ends=ends, types=types)

    moving, changes = (tuple(compress(xs, moves)) for xs in (primals, tangents))
    return _linear.bind(*primals, ends=ends, types=types), jax.jvp(run, moving, changes)[1]


def _linear_transpose(cotangents: Sequence[Any], *flat: Any, ends: _Ends, types: Any) -> list[Any]:
    residuals = ends.inputs.children()[0]
    known = residuals.unflatten(flat[: residuals.num_leaves])
    cotangents = ends.outputs.unflatten(map(ad.instantiate_zeros, cotangents))
    back = [None] * residuals.num_leaves + jax.tree.leaves(ends.transpose(known, cotangents))
    return [x if ad.is_undefined_primal(f) else None for x, f in zip(back, flat, strict=True)]


def _linear_batch(flat: Sequence[Any], axes: Sequence[Any], *, ends: _Ends, types: Any) -> Any:
    # every array gets the new axis: which of them have it need not be known to the transpose
    size = next(x.shape[axis] for x, axis in zip(flat, axes, strict=True) if axis is not None)
    full = [batching.bdim_at_front(x, axis, size) for x, axis in zip(flat, axes, strict=True)]
    both = jax.vmap(ends.function), jax.vmap(ends.transpose)
    outputs = jax.tree.leaves(linear_with_transpose(*both, *ends.inputs.unflatten(full)))
    return outputs, [0 for _ in outputs]


_linear = Primitive("linear")
_linear.multiple_results = True
_linear.def_impl(_linear_run)
_linear.def_abstract_eval(lambda *_, ends, types: list(types))
ad.primitive_jvps[_linear] = _linear_jvp
ad.primitive_transposes[_linear] = _linear_transpose
batching.primitive_batchers[_linear] = _linear_batch
mlir.register_lowering(_linear, mlir.lower_fun(_linear_run, multiple_results=True))


# ---- traced functions
#
# Why: a search for the first NaN, strictness, and gradient norms that form no gradient all need to see
# which operations a function is made of; so will every exporter. JAX documents jaxprs as readable ("Writing
# custom interpreters") without promising their attributes. When one is renamed, it is renamed here.


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
    def operations(self) -> list["Operation"]:
        """The operations in the order in which they run."""
        return [Operation(equation, number) for number, equation in enumerate(self.jaxpr.eqns)]

    @property
    def arguments(self) -> list[Any]:
        """The types of the arguments: each has a ``shape`` and a ``dtype``."""
        return [variable.aval for variable in self.jaxpr.invars]


@dataclass(frozen=True)
class ScanLoop:
    """A loop over rows: the first operands are shared by all turns, the next carried, the rest rows."""

    body: Program
    length: int
    reverse: bool
    shared: int
    carried: int


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
    def results(self) -> list[Any]:
        """The types of its results: each has a ``shape`` and a ``dtype``."""
        return [atom.aval for atom in self.equation.outvars]

    @property
    def only_acts(self) -> bool:
        """Whether it has an effect (prints, calls back) and no result."""
        return bool(self.equation.effects) and not self.equation.outvars

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

        JAX writes ``transpose(jvp(layers.0))`` and ``layers.0/rematted_computation``. If it stops doing
        so, the report of a NaN names the operation and the line, but no module.
        """
        innermost = self._scopes.rpartition("/")[2]
        while innermost.endswith(")"):
            innermost = innermost.partition("(")[2][:-1].rpartition("/")[2]
        return "" if innermost == "rematted_computation" else innermost

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

    >>> from funcnet.core.jax_internals import trace, walk
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
