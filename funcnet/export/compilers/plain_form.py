"""A traced function in a plainer form: loops of known length written out, switches on the platform decided."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.jax_internals.obstacles import chosen_branch, decides_platform
from funcnet.core.jax_internals.programs import (
    Branches,
    Operation,
    Program,
    ScanLoop,
    WhileLoop,
    walk,
)

__all__ = ["plain_form"]


def plain_form(program: Program) -> Callable[..., list[Any]]:
    """Make a function of a program that computes the same with fewer kinds of operations.

    Calls are written out, a `jax.lax.scan` is done turn by turn, and of a `jax.lax.platform_dependent` the default
    is taken.

    Args:
        program: with known lengths.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.export.compilers.plain_form import plain_form
        >>> program, _ = trace(lambda x: jax.lax.scan(lambda c, r: (c + r, c), 0.0, x), jnp.arange(3.0))
        >>> sorted({each.name for each in trace(plain_form(program), jnp.arange(3.0))[0].operations} & {"scan", "add"})
        ['add']
    """
    return lambda *arguments: _run(program, arguments)


def _run(program: Program, arguments: Sequence[Any]) -> list[Any]:
    return walk(program, arguments, _visit)


def _visit(operation: Operation, operands: list[Any]) -> list[Any]:
    chosen = chosen_branch(operation, None)
    if chosen is not None:
        return _run(chosen, operands[1:])
    if decides_platform(operation):
        return [0]  # nobody reads it: the branch has been chosen
    called = operation.called
    if called is not None:
        return _run(called, operands)
    match operation.control:
        case ScanLoop() as loop:
            return _scan(loop, operands) if loop.length else operation.evaluate(operands)
        case WhileLoop() as loop:
            return _while(loop, operands)
        case Branches(programs):
            branches = [lambda *values, one=one: _run(one, values) for one in programs]
            return list(jax.lax.switch(operands[0], branches, *operands[1:]))
    return operation.evaluate(operands)


def _scan(loop: ScanLoop, operands: list[Any]) -> list[Any]:
    """Write every turn out."""
    end = loop.shared + loop.carried
    shared, carry, xs = operands[: loop.shared], operands[loop.shared : end], operands[end:]
    turns = range(loop.length)
    rows: dict[int, list[Any]] = {}
    for turn in reversed(turns) if loop.reverse else turns:
        outputs = _run(loop.body, [*shared, *carry, *(x[turn] for x in xs)])
        carry, rows[turn] = outputs[: loop.carried], outputs[loop.carried :]
    columns = zip(*(rows[turn] for turn in turns), strict=True)
    return [*carry, *map(jnp.stack, columns)]


def _while(loop: WhileLoop, operands: list[Any]) -> list[Any]:
    end = loop.test_operands + loop.body_operands
    of_test, of_body = operands[: loop.test_operands], operands[loop.test_operands : end]
    return jax.lax.while_loop(
        lambda state: _run(loop.test, [*of_test, *state])[0],
        lambda state: _run(loop.body, [*of_body, *state]),
        operands[end:],
    )
