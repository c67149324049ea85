"""Loops and choices: scans become Scan, other loops Loop, choices If.

A body sees the values of the graphs around it, so what all turns of a loop share is not handed to it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.programs import Branches, Operation, Program, ScanLoop, WhileLoop
from funcnet.export.onnx.graph import Graph, Value

if TYPE_CHECKING:
    from funcnet.export.onnx.translation import Translator

__all__ = ["add_control"]


def add_control(
    translator: "Translator",
    graph: Graph,
    operation: Operation,
    operands: Sequence[Value],
    scope: str,
) -> list[Value]:
    """Add a loop or a choice, and what runs in it."""
    match operation.control:
        case ScanLoop() as loop:
            return _scan(translator, graph, loop, operands, operation, scope)
        case WhileLoop() as loop:
            return _while(translator, graph, loop, operands, operation, scope)
        case Branches(programs):
            return _choice(translator, graph, programs, operands, operation, scope)
        case None:
            raise ExportError("no rule is there for this operation")


def _scan(
    translator: "Translator",
    graph: Graph,
    loop: ScanLoop,
    operands: Sequence[Value],
    operation: Operation,
    scope: str,
) -> list[Value]:
    ends = loop.shared + loop.carried
    shared, carried, rows = operands[: loop.shared], operands[loop.shared : ends], operands[ends:]
    types = loop.body.arguments[loop.shared :]
    inputs = [("carried", t.shape, t.dtype) for t in types[: loop.carried]]
    inputs += [("row", t.shape, t.dtype) for t in types[loop.carried :]]
    counts = not rows
    if counts:  # a Scan takes its length from its rows
        rows = [graph.expand(graph.scalar(0), (loop.length,))]
        inputs += [("row", (), np.int64)]

    def build(body: Graph, given: list[Value]) -> list[Value]:
        own = given[: loop.carried] if counts else given
        return translator.run(body, loop.body, [*shared, *own], scope)

    body = graph.subgraph(inputs, build)
    made = len(operation.results) - loop.carried
    return _typed(
        graph.node(
            "Scan",
            [*carried, *rows],
            count=len(operation.results),
            body=body,
            num_scan_inputs=len(rows),
            scan_input_directions=[int(loop.reverse)] * len(rows) if loop.reverse else None,
            scan_output_directions=[1] * made if loop.reverse and made else None,
        ),
        operation,
    )


def _while(
    translator: "Translator",
    graph: Graph,
    loop: WhileLoop,
    operands: Sequence[Value],
    operation: Operation,
    scope: str,
) -> list[Value]:
    for_test = operands[: loop.test_operands]
    for_body = operands[loop.test_operands : loop.test_operands + loop.body_operands]
    start = operands[loop.test_operands + loop.body_operands :]

    def holds(inside: Graph, state: Sequence[Value]) -> Value:
        return translator.run(inside, loop.test, [*for_test, *state], scope)[0]

    def build(body: Graph, given: list[Value]) -> list[Value]:
        state = translator.run(body, loop.body, [*for_body, *given[2:]], scope)
        return [holds(body, state), *state]

    inputs: list[tuple[str, Sequence[Any], Any]] = [("turn", (), np.int64), ("goes_on", (), bool)]
    inputs += [("state", t.shape, t.dtype) for t in loop.body.arguments[loop.body_operands :]]
    body = graph.subgraph(inputs, build)
    first = holds(graph, start)
    made = graph.node("Loop", [None, first, *start], count=len(start), body=body)
    return _typed(made, operation)


def _choice(
    translator: "Translator",
    graph: Graph,
    programs: Sequence[Program],
    operands: Sequence[Value],
    operation: Operation,
    scope: str,
) -> list[Value]:
    which, others = operands[0], operands[1:]
    if which.is_constant:  # among them the switch between platforms, which takes its default branch
        number = min(max(int(which.array), 0), len(programs) - 1)
        return translator.run(graph, programs[number], others, scope)

    def branch(inside: Graph, left: Sequence[Program]) -> list[Value]:
        if len(left) == 1:
            return translator.run(inside, left[0], others, scope)
        number = inside.scalar(len(programs) - len(left), which.dtype)
        first = inside.node("LessOrEqual", [which, number], dtype=bool, shape=())
        return _typed(
            inside.node(
                "If",
                [first],
                count=len(operation.results),
                then_branch=inside.subgraph([], lambda body, _: branch(body, left[:1])),
                else_branch=inside.subgraph([], lambda body, _: branch(body, left[1:])),
            ),
            operation,
        )

    return branch(graph, programs)


def _typed(made: Any, operation: Operation) -> list[Value]:
    """Give the outputs of a node the shapes and dtypes of the operation's results."""
    values = made if isinstance(made, list) else [made]
    for value, result in zip(values, operation.results, strict=True):
        value.shape, value.dtype = tuple(result.shape), result.dtype
    return values
