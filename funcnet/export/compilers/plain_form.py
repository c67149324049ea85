"""A traced function in a plainer form: loops of known length written out, switches on the platform decided."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from funcnet.core.jax_internals.convolutions import plain_convolution
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


def plain_form(program: Program, turns: int = 64) -> Callable[..., list[Any]]:
    """Make a function of a program that computes the same with fewer kinds of operations.

    Calls are written out, a `jax.lax.scan` is done turn by turn, of a `jax.lax.platform_dependent` the default is
    taken, and convolutions are in the forms of `plain_convolution`.

    Args:
        program: with known lengths.
        turns: longer loops stay loops.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.export.compilers.plain_form import plain_form
        >>> program, _ = trace(lambda x: jax.lax.scan(lambda c, r: (c + r, c), 0.0, x), jnp.arange(3.0))
        >>> sorted({each.name for each in trace(plain_form(program), jnp.arange(3.0))[0].operations} & {"scan", "add"})
        ['add']
    """
    return lambda *arguments: _run(program, arguments, turns)


def _run(program: Program, arguments: Sequence[Any], turns: int) -> list[Any]:
    def visit(operation: Operation, operands: list[Any]) -> list[Any]:
        chosen = chosen_branch(operation, None)
        if chosen is not None:
            return _run(chosen, operands[1:], turns)
        if decides_platform(operation):
            return [np.int32(0)]  # nobody reads it: the branch is chosen
        called = operation.called
        if called is not None:
            return _run(called, operands, turns)
        match operation.control:
            case ScanLoop() as loop if loop.length:
                return (_unrolled if loop.length <= turns else _scan)(loop, operands, turns)
            case WhileLoop() as loop:
                return _while(loop, operands, turns)
            case Branches(programs):
                return _switch(programs, operands, turns)
        convolved = plain_convolution(operation, *operands[:2]) if len(operands) == 2 else None
        return operation.evaluate(operands) if convolved is None else [convolved]

    return walk(program, arguments, visit)


def _unrolled(loop: ScanLoop, operands: list[Any], turns: int) -> list[Any]:
    """Write every turn out."""
    return loop.written_out(operands, lambda _, inputs: _run(loop.body, inputs, turns))


def _scan(loop: ScanLoop, operands: list[Any], turns: int) -> list[Any]:
    end = loop.shared + loop.carried
    shared, carry, xs = operands[: loop.shared], operands[loop.shared : end], operands[end:]

    def turn(carry: list[Any], row: list[Any]) -> tuple[list[Any], list[Any]]:
        outputs = _run(loop.body, [*shared, *carry, *row], turns)
        return outputs[: loop.carried], outputs[loop.carried :]

    carry, rows = jax.lax.scan(turn, carry, xs, loop.length, loop.reverse)
    return [*carry, *rows]


def _while(loop: WhileLoop, operands: list[Any], turns: int) -> list[Any]:
    end = loop.test_operands + loop.body_operands
    of_test, of_body = operands[: loop.test_operands], operands[loop.test_operands : end]
    return jax.lax.while_loop(
        lambda state: _run(loop.test, [*of_test, *state], turns)[0],
        lambda state: _run(loop.body, [*of_body, *state], turns),
        operands[end:],
    )


def _switch(programs: Sequence[Program], operands: list[Any], turns: int) -> list[Any]:
    branches = [lambda *values, one=one: _run(one, values, turns) for one in programs]
    return list(jax.lax.switch(operands[0], branches, *operands[1:]))
