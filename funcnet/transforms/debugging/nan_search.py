"""Find the operation of a traced function whose result is first not finite.

The function is run again, operation by operation, with a check after each. An operation is blamed if
its result holds a NaN and none of its operands does, or an infinity and none of its operands does: so a
mask of minus infinities is not blamed, and the NaN made of one is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from funcnet.core.jax_internals.programs import (
    Branches,
    Operation,
    Program,
    ScanLoop,
    WhileLoop,
    walk,
)
from funcnet.core.leaf_kinds import is_trainable
from funcnet.transforms.debugging.nan_report import Blame, Site

__all__ = ["asking_line", "search", "source_line"]

# by their places, not their names: a user's project may lie in a folder that is called "funcnet"
_PACKAGES = (Path(jax.__file__).parent, Path(jaxlib.__file__).parent, Path(__file__).parents[2])


class NotFinite(NamedTuple):
    """Whether a value holds a NaN, and whether it holds an infinity."""

    nan: bool
    infinite: bool


def not_finite(value: Any) -> NotFinite:
    """Look for NaNs and infinities in a concrete value."""
    if not is_trainable(value):
        return NotFinite(False, False)
    array = np.asarray(value)
    return NotFinite(bool(np.isnan(array).any()), bool(np.isinf(array).any()))


class _CulpritError(Exception):
    """Ends the search: what was found, where."""

    def __init__(self, kind: str, site: Site, turn: int | None):
        super().__init__(kind)
        self.kind, self.site, self.turn = kind, site, turn


def search(
    program: Program,
    arguments: Sequence[Any],
    names: Sequence[str],
    tick: Callable[[], Any] = lambda: None,
) -> Blame:
    """Run a program by single operations on concrete arguments and blame the first culprit.

    ``tick`` is called before each operation, for whoever wants to know that the search goes on.
    """
    found = [not_finite(value) for value in arguments]
    # an infinity among the arguments may be meant (a mask); a NaN never is
    for name, (nan, _) in zip(names, found, strict=True):
        if nan:
            return Blame("NaN", None, name)
    try:
        _run(program, arguments, Place(tick))
    except _CulpritError as culprit:
        return Blame(culprit.kind, culprit.site, turn=culprit.turn)
    for name, (_, infinite) in zip(names, found, strict=True):
        if infinite:
            return Blame("infinity", None, name)
    return Blame("NaN or infinity", None)


@dataclass(frozen=True)
class Place:
    """Where in the program an operation is run: in which scope, pass and turn."""

    tick: Callable[[], Any]
    path: str = ""
    backward: bool = False
    turn: int | None = None
    source: str = ""
    """The line of the innermost call, for operations that tell none."""


def _run(program: Program, arguments: Sequence[Any], place: Place) -> list[Any]:
    """Run a program; raise `_CulpritError` at the first operation that makes what it was not given."""
    backward = _only_backward(program)

    def visit(operation: Operation, operands: list[Any]) -> list[Any]:
        if operation.only_acts:  # a print or a callback, which has happened already
            return []
        at = replace(
            place,
            path=operation.scope or place.path,
            backward=place.backward or operation.number in backward,
        )
        outputs = _inside(operation, operands, at)
        if outputs is None:
            place.tick()
            outputs = operation.evaluate(operands)
            _judge(operation, operands, outputs, at)
        return outputs

    return walk(program, arguments, visit)


def _judge(operation: Operation, operands: list[Any], outputs: list[Any], place: Place) -> None:
    after = list(map(not_finite, outputs))
    if not any(nan or infinite for nan, infinite in after):
        return
    before = list(map(not_finite, operands))
    site = Site(operation.name, place.path, place.backward, source_line(operation, place.source))
    if any(each.nan for each in after) and not any(each.nan for each in before):
        raise _CulpritError("NaN", site, place.turn)
    if any(each.infinite for each in after) and not any(each.infinite for each in before):
        raise _CulpritError("infinity", site, place.turn)


def _inside(operation: Operation, operands: list[Any], place: Place) -> list[Any] | None:
    """Go into calls, loops and branches; ``None`` for an operation that holds no other."""
    called = operation.called
    if called is not None:
        return _run(called, operands, replace(place, source=source_line(operation, place.source)))
    match operation.control:
        case ScanLoop() as loop:
            # without a turn there is nothing to search, and the results are empty rows
            return _scan(loop, operands, place) if loop.length else operation.evaluate(operands)
        case WhileLoop() as loop:
            return _while(loop, operands, place)
        case Branches(programs):
            return _run(programs[int(operands[0])], operands[1:], place)
    return None


def _scan(loop: ScanLoop, operands: list[Any], place: Place) -> list[Any]:
    return loop.written_out(
        operands, lambda turn, inputs: _run(loop.body, inputs, replace(place, turn=turn))
    )


def _while(loop: WhileLoop, operands: list[Any], place: Place) -> list[Any]:
    end = loop.test_operands + loop.body_operands
    of_test, of_body = operands[: loop.test_operands], operands[loop.test_operands : end]
    state = operands[end:]
    turn = 0
    while True:
        (going,) = _run(loop.test, [*of_test, *state], replace(place, turn=turn))
        if not going.any():
            return state
        taken = _run(loop.body, [*of_body, *state], replace(place, turn=turn))
        state = [_where(going, new, old) for new, old in zip(taken, state, strict=True)]
        turn += 1


def _where(going: Any, new: Any, old: Any) -> Any:
    """Keep the old values of those loops of a batch (under vmap) that have come to their end."""
    return jnp.where(going.reshape(going.shape + (1,) * (new.ndim - going.ndim)), new, old)


def _only_backward(program: Program) -> set[int]:
    """Return the numbers of operations whose results only the backward pass reads."""
    operations = program.operations
    readers: list[set[int]] = [set() for _ in operations]

    def note(operation: Operation, makers: list[int | None]) -> list[int]:
        """Let the number of the operation that made a value flow, and note who reads it."""
        for maker in makers:
            if maker is not None:
                readers[maker].add(operation.number)
        return [operation.number] * len(operation.results)

    nobody = [None] * len(program.arguments)
    returned = set(walk(program, nobody, note, constant=lambda _: None))
    backward: set[int] = set()
    for operation in reversed(operations):
        number = operation.number
        read_there = readers[number] and readers[number] <= backward and number not in returned
        if operation.is_transposed or read_there:
            backward.add(number)
    return backward


def source_line(operation: Operation, of_call: str) -> str:
    """Return the innermost line of source that is neither JAX's nor funcnet's.

    Where JAX remembers the trace of a formula, its operations tell no line outside of it: the line of the call
    stands for them, or funcnet's own where the call is gone, as in a gradient.

    Args:
        operation: of a traced program.
        of_call: the line of the call around it, or ``""``.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.transforms.debugging.nan_search import source_line
        >>> program, _ = trace(lambda x: x + 1, 1.0)
        >>> source_line(program.operations[0], "").endswith(":1 (<lambda>)")
        True
    """
    own = ""
    for file, line in _lines(operation):
        if not any(file.is_relative_to(package) for package in _PACKAGES):
            return line
        own = own or (line if file.is_relative_to(_PACKAGES[-1]) else "")
    return of_call or own or "unknown line"


def asking_line(calls: Sequence[Operation]) -> str:
    """Return the line of a user's source that asked for an operation within calls, as near to it as one is known.

    Where none is known it is ``""``.

    Args:
        calls: the calls around it, outermost first, and the operation itself.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.transforms.debugging.nan_search import asking_line
        >>> program, _ = trace(lambda x: x + 1, 1.0)
        >>> asking_line(program.operations).endswith(":1 (<lambda>)")
        True
    """
    for operation in reversed(calls):
        for file, line in _lines(operation):
            if not any(file.is_relative_to(package) for package in _PACKAGES):
                return line
    return ""


def _lines(operation: Operation) -> Iterator[tuple[Path, str]]:
    for frame in operation.frames:
        path = Path(frame.file)
        yield path, f"{path.name}:{frame.line} ({frame.function})"
