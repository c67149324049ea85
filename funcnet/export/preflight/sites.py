"""Every operation of a traced function, with the layer and the line of the user's code that asked for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import jaxlib

from funcnet.core.jax_internals.obstacles import chosen_branch, programs_within
from funcnet.core.jax_internals.programs import (
    Branches,
    Operation,
    Program,
    ScanLoop,
    WhileLoop,
    walk,
)
from funcnet.export.preflight.finding import Finding

__all__ = ["Located", "located"]

# by their places, not their names: a user's project may lie in a folder that is called "funcnet"
_PACKAGES = (Path(jax.__file__).parent, Path(jaxlib.__file__).parent, Path(__file__).parents[2])


@dataclass(frozen=True)
class Located:
    """An operation and its place.

    Attributes:
        operation: the operation.
        layer: the path of the module around it.
        line: the user's line.
        constant: for each operand, whether it is the same in every call, whatever the inputs and weights.
        is_leaf: whether it is done by itself, and is no call, loop or choice of programs.
    """

    operation: Operation
    layer: str
    line: str
    constant: tuple[bool, ...]
    is_leaf: bool = True

    def finding(self, severity: Literal["error", "warning"], problem: str, instead: str) -> Finding:
        """Say what is wrong with it."""
        return Finding(severity, problem, instead, self.operation.name, self.layer, self.line)


@dataclass(frozen=True)
class _Around:
    """What calls around an operation say of it."""

    platform: str | None
    layer: str = ""
    line: str = ""


def located(program: Program, platform: str | None) -> list[Located]:
    """List the operations of a program, those of calls, loops and branches included.

    Args:
        program: of a whole function.
        platform: whose branch is taken where an operation has several forms; None takes the default.
    """
    found: list[Located] = []
    _visit_all(program, [False] * len(program.arguments), _Around(platform), found)
    return found


def _visit_all(
    program: Program, constant: Sequence[bool], around: _Around, found: list[Located]
) -> list[bool]:
    """Note all operations; return which results are the same in every call."""

    def visit(operation: Operation, operands: list[bool]) -> list[bool]:
        at = replace(
            around,
            layer=operation.scope or around.layer,
            line=user_line(operation) or around.line,
        )
        inner = programs_within(operation, around.platform)
        found.append(Located(operation, at.layer, at.line, tuple(operands), not inner))
        outcome = _enter(operation, operands, inner, at, found)
        if outcome is not None and len(outcome) == len(operation.results):
            return outcome
        return [all(operands)] * len(operation.results)

    return walk(program, constant, visit, constant=lambda _: True)


def _enter(
    operation: Operation,
    operands: list[bool],
    inner: Sequence[Program],
    at: _Around,
    found: list[Located],
) -> list[bool] | None:
    """Visit the programs of a call, loop or choice; return which of its results are constant, if that is known."""
    if chosen_branch(operation, at.platform) is not None:
        return _visit_all(inner[0], operands[1:], at, found)
    match operation.control:
        case ScanLoop() as loop:
            return _visit_scan(loop, operands, at, found)
        case WhileLoop() as loop:
            return _visit_while(loop, operands, at, found)
        case Branches(programs):
            taken = [_visit_all(each, operands[1:], at, found) for each in programs]
            return [operands[0] and all(flags) for flags in zip(*taken, strict=True)]
    outcomes = [_visit_all(each, _fitting(operands, each), at, found) for each in inner]
    return outcomes[0] if operation.called is not None else None


def _fitting(operands: list[bool], program: Program) -> list[bool]:
    count = len(program.arguments)
    return operands if len(operands) == count else [all(operands)] * count


def _visit_scan(
    loop: ScanLoop, operands: list[bool], at: _Around, found: list[Located]
) -> list[bool]:
    shared, rest = operands[: loop.shared], operands[loop.shared :]
    carry, rows = rest[: loop.carried], rest[loop.carried :]
    carry = _settled(carry, lambda now: _visit_all(loop.body, [*shared, *now, *rows], at, []))
    return _visit_all(loop.body, [*shared, *carry, *rows], at, found)


def _visit_while(
    loop: WhileLoop, operands: list[bool], at: _Around, found: list[Located]
) -> list[bool]:
    end = loop.test_operands + loop.body_operands
    of_test, of_body = operands[: loop.test_operands], operands[loop.test_operands : end]
    state = _settled(operands[end:], lambda now: _visit_all(loop.body, [*of_body, *now], at, []))
    # what is constant in every turn still depends on the number of turns
    (ends_alike,) = _visit_all(loop.test, [*of_test, *state], at, found)
    _visit_all(loop.body, [*of_body, *state], at, found)
    return [each and ends_alike for each in state]


def _settled(carry: list[bool], turn: Callable[[list[bool]], list[bool]]) -> list[bool]:
    """Find which of a loop's values stay the same in every call, however often it turns."""
    while True:
        after = [now and then for now, then in zip(carry, turn(carry), strict=False)]
        if after == carry:
            return carry
        carry = after


def user_line(operation: Operation) -> str:
    """Give the innermost line of source that is neither JAX's nor funcnet's; ``""`` if there is none."""
    for frame in operation.frames:
        if not is_inner(frame.file):
            return f"{Path(frame.file).name}:{frame.line} ({frame.function})"
    return ""


def is_inner(file: str) -> bool:
    """Whether a file belongs to JAX or funcnet."""
    return any(Path(file).is_relative_to(package) for package in _PACKAGES)


def line_of_error(error: BaseException) -> str:
    """Give the innermost line of the user's code that an error came through."""
    line, trace = "", error.__traceback__
    while trace is not None:
        code: Any = trace.tb_frame.f_code
        if not is_inner(code.co_filename):
            line = f"{Path(code.co_filename).name}:{trace.tb_lineno} ({code.co_name})"
        trace = trace.tb_next
    return line
