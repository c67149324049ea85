"""From a program's operations to nodes: by rules, and by values that are known already."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.operations import operation_kind, settings_of
from funcnet.core.jax_internals.programs import Operation, Program
from funcnet.core.jax_internals.steps import Step, steps_of
from funcnet.core.marks import mark_of
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.onnx.lengths import as_number

__all__ = ["MarkRule", "OperationRule", "Translator", "where"]

OperationRule = Callable[[Graph, Operation, list[Value]], Sequence[Value]]
"""Adds the nodes of one operation to a graph, and returns a value for each of its results."""


class MarkRule(NamedTuple):
    """How a marked call is written as one operator.

    Attributes:
        applies: takes the operation, what its mark says, and ONNX's version of operators; where it says no, the call
            is entered as any other.
        write: the rule.
    """

    applies: Callable[[Operation, Mapping[str, int], int], bool]
    write: OperationRule


_MOST_FOLDED = 1 << 16
"""Numbers of a result that is computed now; larger ones would only make the file larger."""

_NEVER_FOLDED = {"broadcast_in_dim"}
"""They make much of little; the runtime does that in no time."""


class Translator:
    """Writes programs into graphs.

    Args:
        rules: by the kind of an operation (`operation_kind`).
        marks: by the kind of a mark (`mark_of`), for calls that are one operator.
    """

    def __init__(
        self, rules: Mapping[str, OperationRule], marks: Mapping[str, MarkRule] | None = None
    ):
        self.rules = rules
        self.marks = marks or {}

    def run(
        self, graph: Graph, program: Program, arguments: Sequence[Value], scope: str = ""
    ) -> list[Value]:
        """Add a program's nodes; return the values of its results."""
        steps = steps_of(program, scope, lambda each: self._marked(graph, each) is not None)
        self._refuse_unknown(steps.each)
        values: dict[Any, Value] = dict(zip(steps.arguments, arguments, strict=True))

        def read(slot: Any) -> Value:
            if slot not in values:
                values[slot] = known(slot.array)
            return values[slot]

        for step in steps.each:
            operands = list(map(read, step.operands))
            values.update(zip(step.results, self._step(graph, step, operands), strict=True))
        return list(map(read, steps.results))

    def _step(self, graph: Graph, step: Step, operands: list[Value]) -> list[Value]:
        operation = step.operation
        if _can_be_folded(operation, operands):
            return [known(a) for a in operation.evaluate([each.array for each in operands])]
        mark = self._marked(graph, operation)
        kind = mark or operation_kind(operation)
        outer, graph.shared.scope = graph.shared.scope, step.scope
        try:
            made = self._made(graph, operation, kind, operands, step.scope)
        except ExportError as error:
            if str(error).startswith("ONNX: "):
                raise
            raise ExportError(f"ONNX: {kind}{where(operation, step.scope)}: {error}") from error
        finally:
            graph.shared.scope = outer
        typed = _typed(operation, made)
        for value in typed:
            graph.shared.note(value)
        return typed

    def _made(
        self, graph: Graph, operation: Operation, kind: str, operands: list[Value], scope: str
    ) -> Sequence[Value]:
        if kind in self.marks and kind == self._marked(graph, operation):
            return self.marks[kind].write(graph, operation, operands)
        if kind in self.rules:
            return self.rules[kind](graph, operation, operands)
        if kind == "dim_as_value":
            return [
                graph.cast(graph.length(settings_of(operation)["dim"]), operation.results[0].dtype)
            ]
        if kind == "platform_index":
            return [known(np.int32(settings_of(operation)["default"] or 0))]
        from funcnet.export.onnx.control import add_control

        return add_control(self, graph, operation, operands, scope)

    def _marked(self, graph: Graph, operation: Operation) -> str | None:
        """Name the mark of a call that is written as one operator; None for anything else."""
        mark = mark_of(operation) if self.marks else None
        rule = None if mark is None else self.marks.get(mark.kind)
        if mark is None or rule is None:
            return None
        return mark.kind if rule.applies(operation, mark.settings, graph.shared.opset) else None

    def _refuse_unknown(self, steps: Sequence[Step]) -> None:
        """Name all operations that no rule is there for, before a single node is made."""
        own = {"dim_as_value", "platform_index"}
        unknown: dict[str, str] = {}
        for step in steps:
            kind = operation_kind(step.operation)
            has_rule = kind in self.rules or kind in own or step.operation.control is not None
            has_rule = has_rule or kind == "call"  # a mark: others were entered
            if not has_rule and not _constant_in(step):
                unknown.setdefault(kind, where(step.operation, step.scope))
        if unknown:
            listed = "; ".join(f"{kind}{at}" for kind, at in unknown.items())
            raise ExportError(
                f"ONNX: no rule is there for these operations: {listed}. Write the computation another way, or give "
                "a rule of your own: export.onnx(..., rules={kind: rule}), see docs/guides/export_onnx.md"
            )


def _constant_in(step: Step) -> bool:
    return all(slot.array is not None for slot in step.operands)


def known(array: Any) -> Value:
    """Hold a constant that no node reads yet."""
    if not hasattr(array, "dtype"):
        array = np.asarray(array)
    if not jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = np.asarray(array)
    return Value("", tuple(array.shape), array.dtype, array)


def _can_be_folded(operation: Operation, operands: Sequence[Value]) -> bool:
    if not all(each.is_constant for each in operands) or operation.control is not None:
        return False
    kind = operation_kind(operation)
    if kind in ("dim_as_value", "platform_index") or operation.acts:
        return False
    sizes = []
    for each in operation.results:
        lengths = list(map(as_number, each.shape))
        if None in lengths:
            return False
        sizes.append(prod(n for n in lengths if n is not None))
    least = sum(prod(each.shape or ()) for each in operands)
    limit = max(64, least) if kind in _NEVER_FOLDED else _MOST_FOLDED
    return sum(sizes) <= limit


def _typed(operation: Operation, made: Sequence[Value]) -> list[Value]:
    """Give values the shapes and dtypes that JAX says their operation has."""
    results = operation.results
    if len(made) != len(results):
        raise ExportError(
            f"the rule of {operation_kind(operation)} returned {len(made)} values for {len(results)} results"
        )
    typed = []
    for value, result in zip(made, results, strict=True):
        shape = tuple(result.shape)
        known_of_it = (value.array, value.weight, value.narrow)
        typed.append(Value(value.name, shape, result.dtype, *known_of_it))
    return typed


def where(operation: Operation, scope: str = "") -> str:
    """Say which module asked for an operation, and on which line, as far as JAX knows."""
    module = operation.scope or scope
    frame = next((f for f in operation.frames if "/jax/" not in f.file.replace("\\", "/")), None)
    text = f" in module {module!r}" if module else ""
    return text + (f" ({frame.file}:{frame.line})" if frame else "")
