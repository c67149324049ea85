"""A program as one list of operations: calls are entered, and what no result needs is left out.

Why: what is translated operation by operation should not meet the calls that JAX wraps around everything, and an
operation that nobody needs should not be a reason to refuse a function.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcnet.core.jax_internals.operations import inner_call
from funcnet.core.jax_internals.programs import Operation, Program, walk

__all__ = ["StepValue", "Step", "Steps", "steps_of"]


@dataclass(eq=False)
class StepValue:
    """A place where a value will be; ``array`` is there from the start for constants."""

    array: Any = None


@dataclass(frozen=True)
class Step:
    """One operation, its operands and results, and the module that it belongs to."""

    operation: Operation
    operands: list[StepValue]
    results: list[StepValue]
    scope: str


@dataclass(frozen=True)
class Steps:
    """What a program does: ``each`` in order, from ``arguments`` to ``results``."""

    arguments: list[StepValue]
    each: list[Step]
    results: list[StepValue]


def never(operation: Operation) -> bool:
    """Enter every call."""
    del operation
    return False


def steps_of(
    program: Program, scope: str = "", whole: Callable[[Operation], bool] = never
) -> Steps:
    """List the operations of a program that its results need.

    Args:
        program: the program.
        scope: the module that it belongs to, where its operations do not say.
        whole: says which calls are not entered, but listed as one operation.
    """
    arguments = [StepValue() for _ in program.arguments]
    found: list[Step] = []
    results = _enter(program, arguments, scope, found, whole)
    _give_dtypes(results, program.results)
    return Steps(arguments, _needed(found, results), results)


def _enter(
    program: Program,
    arguments: Sequence[StepValue],
    scope: str,
    found: list[Step],
    whole: Callable[[Operation], bool],
) -> list[StepValue]:
    def visit(operation: Operation, operands: list[StepValue]) -> list[StepValue]:
        own = operation.scope or scope
        _give_dtypes(operands, operation.operands)
        call = None if whole(operation) else inner_call(operation)
        if call is not None:
            inner, places = call
            return _enter(inner, [operands[i] for i in places], own, found, whole)
        results = [StepValue() for _ in operation.results]
        found.append(Step(operation, operands, results, own))
        return results

    return walk(program, arguments, visit, StepValue)


def _needed(found: Sequence[Step], results: Sequence[StepValue]) -> list[Step]:
    needed = set(results)
    kept = []
    for step in reversed(found):
        if needed & set(step.results):
            kept.append(step)
            needed |= set(step.operands)
    return kept[::-1]


def _give_dtypes(slots: Sequence[StepValue], types: Sequence[Any]) -> None:
    """Make arrays of numbers that stand where they are used: these come without a dtype."""
    for slot, type_ in zip(slots, types, strict=True):
        if slot.array is not None and not hasattr(slot.array, "shape"):
            slot.array = np.asarray(slot.array, type_.dtype)
