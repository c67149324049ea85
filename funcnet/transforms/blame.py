"""Where in a traced function the first value that is not finite is born.

The function's jaxpr is run again, operation by operation, with a check after each. An operation is
blamed if its result holds a NaN and none of its operands does, or an infinity and none of its
operands does: so a mask of minus infinities is not blamed, and the NaN made of one is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from funcnet.core.aliases import Array
from funcnet.transforms.jaxprs import called, evaluate, opened

__all__ = ["Blame", "Site", "first_non_finite"]

# Operations that move numbers about and make none.
_MOVES = {
    "broadcast_in_dim",
    "concatenate",
    "copy",
    "copy_p",
    "dynamic_slice",
    "dynamic_update_slice",
    "gather",
    "optimization_barrier",
    "pad",
    "reshape",
    "rev",
    "select_n",
    "slice",
    "squeeze",
    "stack",
    "stop_gradient",
    "transpose",
    "unstack",
}


@dataclass(frozen=True)
class Site:
    """One operation of a traced function.

    Attributes:
        operation: JAX's name of it.
        path: the innermost ``jax.named_scope`` around it: of a funcnet model, the module's path.
        backward: whether it belongs to the backward pass.
        source: the user's line that asked for it.
    """

    operation: str
    path: str
    backward: bool
    source: str


@dataclass(frozen=True)
class Blame:
    """The first value of a step that was not finite.

    Attributes:
        kind: ``"NaN"`` or ``"infinity"``.
        site: where it was made; ``None`` if it was an argument, or was not found again.
        argument: the path of the argument that was not finite to begin with, or ``""``.
        turn: the turn of the innermost scan around the site, or ``None``.
        step: the step that ``nan_guard`` was told to report, or ``None``.
    """

    kind: str
    site: Site | None
    argument: str = ""
    turn: int | None = None
    step: int | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        at = "" if self.step is None else f" at step {self.step}"
        if self.argument:
            return f"{self.kind}{at}: the argument {self.argument} already held it"
        if self.site is None:
            return f"{self.kind} in the output{at}; run again by single operations, all was finite"
        where = "backward" if self.site.backward else "forward"
        inside = f" in {self.site.path}" if self.site.path else ""
        turn = "" if self.turn is None else f", turn {self.turn} of the scan"
        return (
            f"{self.kind}{at}: first made by `{self.site.operation}`{inside}, {where} pass{turn}, "
            f"{self.site.source}"
        )


class Flags(NamedTuple):
    """Whether a value holds a NaN, and whether it holds an infinity."""

    nan: Array
    infinite: Array


class Found(NamedTuple):
    """The first culprit so far: ``2 * site + (1 if NaN)``, or -1; and the turn of its scan."""

    code: Array
    turn: Array


def flags_of(value: Any) -> Flags | None:
    """Look for NaNs and infinities; ``None`` for types that have none."""
    if not jnp.issubdtype(jnp.result_type(value), jnp.inexact):
        return None
    return Flags(jnp.isnan(value).any(), jnp.isinf(value).any())


def any_of(flags: Sequence[Flags | None]) -> Flags:
    """Join what is known of several values."""
    known = [each for each in flags if each is not None]
    nan, infinite = jnp.zeros((), bool), jnp.zeros((), bool)
    for each in known:
        nan, infinite = nan | each.nan, infinite | each.infinite
    return Flags(nan, infinite)


def first_non_finite(
    closed: core.ClosedJaxpr, arguments: Sequence[Any], sites: list[Site]
) -> Found:
    """Run a jaxpr again by single operations and return the first culprit.

    The operations met are appended to ``sites``; the code found is an index into it.
    """
    nothing = Found(jnp.int32(-1), jnp.int32(-1))
    return _Search(sites).run(
        closed.jaxpr, closed.consts, arguments, "", False, nothing, jnp.int32(-1)
    )[1]


class _Search:
    """One pass over a jaxpr and all that it calls."""

    def __init__(self, sites: list[Site]):
        self.sites = sites

    def run(
        self,
        jaxpr: core.Jaxpr,
        consts: Sequence[Any],
        arguments: Sequence[Any],
        path: str,
        backward: bool,
        found: Found,
        turn: Array,
    ) -> tuple[list[Any], Found]:
        values: dict[Any, Any] = {}
        flags: dict[Any, Flags | None] = {}

        def read(atom: Any) -> tuple[Any, Flags | None]:
            if isinstance(atom, core.Literal):
                return atom.val, flags_of(atom.val)
            if atom not in flags:
                flags[atom] = flags_of(values[atom])
            return values[atom], flags[atom]

        values.update(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))
        derivatives = _only_backward(jaxpr)
        for number, eqn in enumerate(jaxpr.eqns):
            if eqn.effects and not eqn.outvars:
                continue
            pairs = [read(atom) for atom in eqn.invars]
            operands, known = [value for value, _ in pairs], [flag for _, flag in pairs]
            scope = str(eqn.source_info.name_stack)
            inner_path = _module_path(scope) or path
            inner_backward = backward or number in derivatives
            outputs, found, inside = self._equation(
                eqn, operands, inner_path, inner_backward, found, turn
            )
            values.update(zip(eqn.outvars, outputs, strict=True))
            if inside:
                continue
            before = any_of(known)
            if eqn.primitive.name in _MOVES:
                flags.update((var, before if flags_possible(var) else None) for var in eqn.outvars)
                continue
            after = any_of([read(var)[1] for var in eqn.outvars])
            site = Site(eqn.primitive.name, inner_path, inner_backward, _source(eqn))
            found = self._judge(site, before, after, found, turn)
        return [read(atom)[0] for atom in jaxpr.outvars], found

    def _equation(
        self, eqn: Any, operands: list[Any], path: str, backward: bool, found: Found, turn: Array
    ) -> tuple[list[Any], Found, bool]:
        """Run one operation, going into calls and scans; say whether it was gone into."""
        if eqn.primitive.name == "scan":
            outputs, found = self._scan(eqn, operands, path, backward, found)
            return outputs, found, True
        inner = called(eqn)
        if inner is not None:
            jaxpr, consts = inner
            outputs, found = self.run(jaxpr, consts, operands, path, backward, found, turn)
            return outputs, found, True
        return evaluate(eqn, operands), found, False

    def _scan(
        self, eqn: Any, operands: list[Any], path: str, backward: bool, found: Found
    ) -> tuple[list[Any], Found]:
        """Run a scan with the search in its carry."""
        body, consts = opened(eqn.params["jaxpr"])
        # the parameters that tell carry from xs changed names between releases; ranks tell them too
        count = sum(map(_same_rank, eqn.outvars, body.outvars))
        end = sum(map(_same_rank, eqn.invars, body.invars))
        shared, start, xs = operands[: end - count], operands[end - count : end], operands[end:]

        def turn_of(carry: Any, x: Any) -> tuple[Any, Any]:
            state, found, turn = carry
            inputs = [*shared, *state, *x]
            outputs, found = self.run(body, consts, inputs, path, backward, found, turn)
            return (outputs[:count], found, turn + 1), outputs[count:]

        (state, found, _), ys = jax.lax.scan(
            turn_of,
            (start, found, jnp.int32(0)),
            xs,
            length=eqn.params["length"],
            reverse=eqn.params["reverse"],
        )
        return [*state, *ys], found

    def _judge(self, site: Site, before: Flags, after: Flags, found: Found, turn: Array) -> Found:
        """Blame the operation if it is the first to make what its operands did not hold."""
        index = len(self.sites)
        self.sites.append(site)
        nan, infinite = after.nan & ~before.nan, after.infinite & ~before.infinite
        guilty = (found.code < 0) & (nan | infinite)
        code = jnp.int32(2 * index) + nan.astype(jnp.int32)
        return Found(jnp.where(guilty, code, found.code), jnp.where(guilty, turn, found.turn))


def flags_possible(var: Any) -> bool:
    """Say whether values of a variable's type can be other than finite."""
    return bool(jnp.issubdtype(var.aval.dtype, jnp.inexact))


def _same_rank(outer: Any, inner: Any) -> bool:
    return len(outer.aval.shape) == len(inner.aval.shape)


def _only_backward(jaxpr: core.Jaxpr) -> set[int]:
    """Return the numbers of operations whose results only the backward pass reads."""
    readers: dict[Any, list[int]] = {}
    for number, equation in enumerate(jaxpr.eqns):
        for atom in equation.invars:
            if not isinstance(atom, core.Literal):
                readers.setdefault(atom, []).append(number)
    outputs = {atom for atom in jaxpr.outvars if not isinstance(atom, core.Literal)}
    backward: set[int] = set()
    for number, equation in reversed(list(enumerate(jaxpr.eqns))):
        found = [reader for var in equation.outvars for reader in readers.get(var, [])]
        transposed = "transpose(" in str(equation.source_info.name_stack)
        inner = found and backward.issuperset(found) and outputs.isdisjoint(equation.outvars)
        if transposed or inner:
            backward.add(number)
    return backward


def _module_path(scope: str) -> str:
    """Return the innermost named scope, without the transforms that JAX wraps around its name."""
    innermost = scope.rpartition("/")[2]
    while innermost.endswith(")"):
        innermost = innermost.partition("(")[2][:-1].rpartition("/")[2]
    return "" if innermost == "rematted_computation" else innermost


def _source(eqn: Any) -> str:
    """Return the innermost line of source that is neither JAX's nor funcnet's."""
    traceback = eqn.source_info.traceback
    for frame in getattr(traceback, "frames", ()):
        path = Path(frame.file_name)
        if not {"jax", "jaxlib", "funcnet"} & set(path.parts[:-1]):
            return f"{path.name}:{frame.line_num} ({frame.function_name})"
    return "unknown line"
