"""Loops and choices: scans become Scan, other loops Loop, choices If.

A body sees the values of the graphs around it, so what all turns of a loop share is not handed to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.programs import Branches, Operation, Program, ScanLoop, WhileLoop
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number

if TYPE_CHECKING:
    from funcnet.export.onnx.translation import Translator

__all__ = ["add_control"]

_Described = tuple[str, Sequence[Any], Any]
"""An input of a body: its name, shape and dtype."""


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
    """Write a loop over rows: by a Scan, or by a Loop, which is a fifth slower, where there may be no row at all."""
    length = as_number(loop.length)
    ends = loop.shared + loop.carried
    turn = _Turn(translator, loop, list(operands[: loop.shared]), scope)
    carried, rows = list(operands[loop.shared : ends]), list(operands[ends:])
    if length == 0:
        types = operation.results[loop.carried :]
        return carried + [graph.expand(graph.scalar(0, t.dtype), t.shape) for t in types]
    if not length and not _is_positive(loop.length):
        return _typed(_by_loop(graph, turn, carried, rows, operation), operation)
    return _typed(_by_scan(graph, turn, carried, rows, len(operation.results)), operation)


@dataclass(frozen=True)
class _Turn:
    """What a loop over rows does in each turn."""

    translator: "Translator"
    loop: ScanLoop
    shared: list[Value]
    scope: str

    @property
    def carried(self) -> list[_Described]:
        """The body's first inputs."""
        types = self.loop.body.arguments[self.loop.shared :][: self.loop.carried]
        return [("carried", t.shape, t.dtype) for t in types]

    @property
    def rows(self) -> list[_Described]:
        """The body's last inputs."""
        types = self.loop.body.arguments[self.loop.shared + self.loop.carried :]
        return [("row", t.shape, t.dtype) for t in types]

    def run(self, body: Graph, given: Sequence[Value]) -> list[Value]:
        """Add the body's nodes."""
        return self.translator.run(body, self.loop.body, [*self.shared, *given], self.scope)


def _by_scan(graph: Graph, turn: _Turn, carried: list[Value], rows: list[Value], count: int) -> Any:
    inputs = turn.carried + turn.rows
    counts = not rows
    if counts:  # a Scan takes its length from its rows
        rows = [graph.expand(graph.scalar(0), (turn.loop.length,))]
        inputs.append(("row", (), np.int64))
    number = len(turn.carried) if counts else len(inputs)
    body = graph.subgraph(inputs, lambda inside, given: turn.run(inside, given[:number]))
    back = turn.loop.reverse
    made = count - len(carried)
    return graph.node(
        "Scan",
        [*carried, *rows],
        count=count,
        body=body,
        num_scan_inputs=len(rows),
        scan_input_directions=[1] * len(rows) if back else None,
        scan_output_directions=[1] * made if back and made else None,
    )


def _by_loop(
    graph: Graph, turn: _Turn, carried: list[Value], rows: list[Value], operation: Operation
) -> list[Value]:
    length = graph.length(turn.loop.length)

    def build(body: Graph, given: list[Value]) -> list[Value]:
        number = given[0]
        if turn.loop.reverse:
            last = body.node("Sub", [length, body.scalar(1)])
            number = body.node("Sub", [last, number])
        each = [
            body.node("Gather", [value, number], shape=shape, dtype=dtype, axis=0)
            for value, (_, shape, dtype) in zip(rows, turn.rows, strict=True)
        ]
        return [given[1], *turn.run(body, [*given[2:], *each])]

    inputs: list[_Described] = [("turn", (), np.int64), ("goes_on", (), np.bool_), *turn.carried]
    body = graph.subgraph(inputs, build)
    count = len(body.outputs) - 1
    made = graph.node("Loop", [length, None, *carried], count=count, body=body)
    made = made if count > 1 else [made]
    kept = len(carried)
    if turn.loop.reverse:
        made[kept:] = [_turned_round(graph, value) for value in made[kept:]]
    # of a loop without turns ONNX Runtime returns rows whose open lengths are 0
    shapes = [each.shape for each in operation.results]
    ends = zip(made[kept:], shapes[kept:], strict=True)
    return made[:kept] + [graph.reshape(value, shape) for value, shape in ends]


def _turned_round(graph: Graph, rows: Value) -> Value:
    ends = [graph.ints([number]) for number in (-1, np.iinfo(np.int64).min + 1, 0, -1)]
    return graph.node("Slice", [rows, *ends])


def _is_positive(length: Any) -> bool:
    """Whether an open length is known to be 1 at least, as names by themselves are."""
    try:
        return bool(length >= 1)
    except Exception:  # JAX cannot tell; its class of error is not public
        return False


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

    inputs: list[_Described] = [("turn", (), np.int64), ("goes_on", (), np.bool_)]
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
