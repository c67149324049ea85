"""Where in a traced function the first value that is not finite is born.

The function's jaxpr is run again, operation by operation, with a check after each. An operation is
blamed if its result holds a NaN and none of its operands does, or an infinity and none of its
operands does: so a mask of minus infinities is not blamed, and the NaN made of one is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
from jax.extend import core

from funcnet.transforms.jaxprs import called, evaluate, opened

__all__ = ["Blame", "Site", "search"]

# by their places, not their names: a user's project may lie in a folder that is called "funcnet"
_PACKAGES = (Path(jax.__file__).parent, Path(jaxlib.__file__).parent, Path(__file__).parents[2])


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
        turn: the turn of the innermost loop around the site, or ``None``.
        step: the step that ``nan_guard`` was told to report, or ``None``.
        note: why there is no site.
    """

    kind: str
    site: Site | None
    argument: str = ""
    turn: int | None = None
    step: int | None = None
    note: str = "run again by single operations, all was finite"

    def __str__(self) -> str:
        """Say it in one line."""
        at = "" if self.step is None else f" at step {self.step}"
        if self.argument:
            return f"{self.kind}{at}: the argument {self.argument} already held it"
        if self.site is None:
            return f"{self.kind} in the output{at}: {self.note}"
        where = "backward" if self.site.backward else "forward"
        inside = f" in {self.site.path}" if self.site.path else ""
        turn = "" if self.turn is None else f", turn {self.turn} of the loop"
        return (
            f"{self.kind}{at}: first made by `{self.site.operation}`{inside}, {where} pass{turn}, "
            f"{self.site.source}"
        )


class Flags(NamedTuple):
    """Whether a value holds a NaN, and whether it holds an infinity."""

    nan: bool
    infinite: bool


def flags_of(value: Any) -> Flags:
    """Look for NaNs and infinities in a concrete value."""
    if not jnp.issubdtype(jnp.result_type(value), jnp.inexact):
        return Flags(False, False)
    array = np.asarray(value)
    return Flags(bool(np.isnan(array).any()), bool(np.isinf(array).any()))


class _CulpritError(Exception):
    """Ends the search: what was found, where."""

    def __init__(self, kind: str, site: Site, turn: int | None):
        super().__init__(kind)
        self.kind, self.site, self.turn = kind, site, turn


def search(
    closed: core.ClosedJaxpr,
    arguments: Sequence[Any],
    names: Sequence[str],
    tick: Callable[[], Any] = lambda: None,
) -> Blame:
    """Run a jaxpr by single operations on concrete arguments and blame the first culprit.

    ``tick`` is called before each operation, for whoever wants to know that the search goes on.
    """
    flags = [flags_of(value) for value in arguments]
    # an infinity among the arguments may be meant (a mask); a NaN never is
    for name, (nan, _) in zip(names, flags, strict=True):
        if nan:
            return Blame("NaN", None, name)
    try:
        _run(closed.jaxpr, closed.consts, arguments, Place(tick))
    except _CulpritError as found:
        return Blame(found.kind, found.site, turn=found.turn)
    for name, (_, infinite) in zip(names, flags, strict=True):
        if infinite:
            return Blame("infinity", None, name)
    return Blame("NaN or infinity", None)


@dataclass(frozen=True)
class Place:
    """Where in the program a jaxpr is run: around which scope, in which pass and turn."""

    tick: Callable[[], Any]
    path: str = ""
    backward: bool = False
    turn: int | None = None


def _run(
    jaxpr: core.Jaxpr, consts: Sequence[Any], arguments: Sequence[Any], place: Place
) -> list[Any]:
    """Run a jaxpr and raise `_CulpritError` at the first operation that makes what it was not given."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    derivatives = _only_backward(jaxpr)
    for number, equation in enumerate(jaxpr.eqns):
        if equation.effects and not equation.outvars:
            continue
        operands = [read(atom) for atom in equation.invars]
        scope = str(equation.source_info.name_stack)
        path, backward = _module_path(scope) or place.path, place.backward or number in derivatives
        inner = replace(place, path=path, backward=backward)
        outputs = _inside(equation, operands, inner)
        if outputs is None:
            place.tick()
            outputs = evaluate(equation, operands)
            _judge(equation, operands, outputs, inner)
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _judge(equation: Any, operands: list[Any], outputs: list[Any], place: Place) -> None:
    after = list(map(flags_of, outputs))
    if not any(nan or infinite for nan, infinite in after):
        return
    before = list(map(flags_of, operands))
    site = Site(equation.primitive.name, place.path, place.backward, _source(equation))
    if any(flag.nan for flag in after) and not any(flag.nan for flag in before):
        raise _CulpritError("NaN", site, place.turn)
    if any(flag.infinite for flag in after) and not any(flag.infinite for flag in before):
        raise _CulpritError("infinity", site, place.turn)


def _inside(equation: Any, operands: list[Any], place: Place) -> list[Any] | None:
    """Go into calls, loops and branches; ``None`` for an operation that holds no other."""
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return _scan(equation, operands, place)
    if name == "while":
        return _while(params, operands, place)
    if name == "cond":
        branch, consts = opened(params["branches"][int(operands[0])])
        return _run(branch, consts, operands[1:], place)
    inner = called(equation)
    return None if inner is None else _run(*inner, operands, place)


def _scan(equation: Any, operands: list[Any], place: Place) -> list[Any]:
    body, consts = opened(equation.params["jaxpr"])
    # the parameters that tell carry from xs changed names between releases; ranks tell them too
    count = sum(map(_same_rank, equation.outvars, body.outvars))
    end = sum(map(_same_rank, equation.invars, body.invars))
    shared, carry, xs = operands[: end - count], operands[end - count : end], operands[end:]
    length = equation.params["length"]
    rows: list[list[Any]] = [[]] * length
    for turn in reversed(range(length)) if equation.params["reverse"] else range(length):
        inputs = [*shared, *carry, *(x[turn] for x in xs)]
        outputs = _run(body, consts, inputs, replace(place, turn=turn))
        carry, rows[turn] = outputs[:count], outputs[count:]
    if not length:
        return evaluate(equation, operands)
    return [*carry, *(jnp.stack(column) for column in zip(*rows, strict=True))]


def _while(params: dict[str, Any], operands: list[Any], place: Place) -> list[Any]:
    first, second = params["cond_nconsts"], params["body_nconsts"]
    of_test, of_body = operands[:first], operands[first : first + second]
    state = operands[first + second :]
    test, test_consts = opened(params["cond_jaxpr"])
    body, consts = opened(params["body_jaxpr"])
    turn = 0
    while True:
        (going,) = _run(test, test_consts, [*of_test, *state], replace(place, turn=turn))
        if not going.any():
            return state
        taken = _run(body, consts, [*of_body, *state], replace(place, turn=turn))
        state = [_where(going, new, old) for new, old in zip(taken, state, strict=True)]
        turn += 1


def _where(going: Any, new: Any, old: Any) -> Any:
    """Of a batch of loops (under vmap), keep the old values of those that have come to their end."""
    return jnp.where(going.reshape(going.shape + (1,) * (new.ndim - going.ndim)), new, old)


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
        if not any(path.is_relative_to(package) for package in _PACKAGES):
            return f"{path.name}:{frame.line_num} ({frame.function_name})"
    return "unknown line"
