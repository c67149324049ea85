"""Which values a traced program holds at once: a walk through its operations in their order.

Calls are written out. A loop is one operation, whose body has a peak of its own. What costs no memory of its own, a
reshape or a broadcast, is the value that it is made of; what is made of a value of its size that nobody reads any more
takes its place. Values that nobody reads are not made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.jax_internals.operations import inner_call, operation_kind
from funcnet.core.jax_internals.programs import Operation, Program, ScanLoop, WhileLoop, walk
from funcnet.module.summaries.counting import programs_of
from funcnet.module.summaries.places import Where
from funcnet.transforms.debugging.nan_search import asking_line

__all__ = ["Timeline", "LiveValue", "bytes_of", "timeline"]

_SAME_VALUE = frozenset({
    "broadcast_in_dim", "copy", "copy_p", "expand_dims", "name", "optimization_barrier", "pcast", "pvary", "reshape",
    "reshard", "sharding_constraint", "squeeze", "stop_gradient", "unknown:layout_constraint", "unknown:mesh_cast",
    "unknown:name",
})  # fmt: skip
"""Operations that take no memory of their own."""

_READS_TWICE = frozenset({
    "concatenate", "conv_general_dilated", "dot_general", "fft", "gather", "ragged_dot_general", "reduce_window",
    "reduce_window_max", "reduce_window_min", "reduce_window_sum", "rev", "sort", "transpose",
})  # fmt: skip
"""Operations that read an operand again after they have begun to write: their results need places of their own."""


@dataclass(eq=False)
class LiveValue:
    """An array that a program makes or is given.

    Attributes:
        array_type: its type, with a shape and a dtype.
        bytes: its size.
        layer: around what made it.
        made: the calls around the operation that made it, and that operation; empty of an argument.
        backward: whether a backward pass made it.
        argument: the name of the argument that it belongs to.
        donated: whether it is an argument whose place may be written over.
        first: the number of the step that makes it; -1 if none does.
        last: the number of the last step that reads it.
        read_backward: whether a backward pass reads it.
        returned: whether it is a result of the program.
    """

    array_type: Any
    bytes: int
    layer: str = ""
    made: tuple[Operation, ...] = ()
    backward: bool = False
    argument: str = ""
    donated: bool = False
    first: int = -1
    last: int = -1
    read_backward: bool = False
    returned: bool = False

    @property
    def kind(self) -> str:
        """What it is to the program: argument, result, residual or temporary."""
        if self.argument:
            return "argument"
        if self.returned:
            return "result"
        return "residual" if self.read_backward and not self.backward else "temporary"

    @property
    def operation(self) -> str:
        """JAX's name of what made it."""
        return self.made[-1].name if self.made else ""

    @property
    def line(self) -> str:
        """The user's line of source that asked for it."""
        return asking_line(self.made)


@dataclass
class TimelineStep:
    """One operation of the program, calls written out.

    Attributes:
        operation: the operation.
        layer: around it.
        backward: whether it belongs to a backward pass.
        operands: what it reads.
        results: what it makes.
        in_place: pairs of an operand and a result that may have one place.
        within: what the body of a loop, or the largest of several branches, holds at its own peak.
    """

    operation: Operation
    layer: str
    backward: bool
    operands: list[LiveValue]
    results: list[LiveValue]
    in_place: list[tuple[LiveValue, LiveValue]] = field(default_factory=list)
    within: list[LiveValue] = field(default_factory=list)


@dataclass
class Timeline:
    """A program's steps in order, and what it is given and returns.

    Attributes:
        steps: its operations, those whose results nobody reads left out.
        arguments: its arguments, and arrays that it closes over.
        results: of the program.
    """

    steps: list[TimelineStep]
    arguments: list[LiveValue]
    results: list[LiveValue]

    def peak(self) -> tuple[TimelineStep | None, list[LiveValue]]:
        """Return the step at which most bytes are held, and what is held there."""
        if not self.steps:
            return None, list(self.arguments)
        made = [value for step in self.steps for value in step.results]
        values = {id(value): value for value in (*self.arguments, *made)}.values()
        change = [0] * (len(self.steps) + 1)
        for value in values:
            change[value.first] += value.bytes
            change[value.last + 1] -= value.bytes
        best, most, held = 0, -1, 0
        for number, step in enumerate(self.steps):
            held += change[number]
            spared = sum(value.bytes for value in _replaced(step, number))
            now = held - spared + sum(value.bytes for value in step.within)
            if now > most:
                best, most = number, now
        step = self.steps[best]
        spared = {id(value) for value in _replaced(step, best)}
        live = [
            value
            for value in values
            if value.first <= best <= value.last and id(value) not in spared
        ]
        return step, [*live, *step.within]


def bytes_of(aval: Any) -> int:
    """Return the bytes of an array of some type; a key counts as what it is made of.

    Example:
        >>> from funcnet.module.summaries.memory import bytes_of
        >>> bytes_of(jnp.ones((2, 3), jnp.bfloat16)), bytes_of(jax.random.key(0)) > 0
        (12, True)
    """
    if not hasattr(aval, "dtype"):
        return 0
    if jnp.issubdtype(aval.dtype, jax.dtypes.extended):
        aval = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(aval.shape, aval.dtype))
    return math.prod(aval.shape) * aval.dtype.itemsize


def timeline(program: Program, arguments: Sequence[str], place: Where) -> Timeline:
    """Follow the values of a program.

    Args:
        program: of a whole function.
        arguments: a name for each of its arguments.
        place: of the program.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.module.summaries.memory import timeline
        >>> from funcnet.module.summaries.places import OpenPlace
        >>> program, _ = trace(lambda x: jnp.sin(x) @ jnp.cos(x), jnp.ones((4, 4)))
        >>> step, held = timeline(program, ["x"], OpenPlace()).peak()
        >>> step.operation.name, sum(value.bytes for value in held)
        ('dot_general', 256)
    """
    given = [
        LiveValue(aval, bytes_of(aval), argument=name)
        for aval, name in zip(program.arguments, arguments, strict=True)
    ]
    builder = _Builder()
    results = builder.follow(program, given, _Here(place, outermost=True))
    return _timed(builder, given, results)


@dataclass(frozen=True)
class _Here:
    """What calls and loops around a program say of its operations."""

    place: Where
    backward: bool = False
    calls: tuple[Operation, ...] = ()
    outermost: bool = False

    def at(self, operation: Operation) -> "_Here":
        place = self.place.entered(tuple(operation.scopes))
        return _Here(place, self.backward or operation.is_transposed, (*self.calls, operation))

    def value(self, aval: Any, size: int | None = None) -> LiveValue:
        bytes = bytes_of(aval) if size is None else size
        return LiveValue(aval, bytes, self.place.layer, self.calls, self.backward)


class _Builder:
    """What writes a program's steps down."""

    def __init__(self) -> None:
        self.steps: list[TimelineStep] = []
        self.constants: dict[int, LiveValue] = {}

    def follow(self, program: Program, operands: list[LiveValue], around: _Here) -> list[LiveValue]:
        """Write the steps of a program down, and return the values of its results."""

        def visit(operation: Operation, operands: list[LiveValue]) -> list[LiveValue]:
            return self._visit(operation, operands, around)

        return walk(program, operands, visit, self._constant)

    def _constant(self, value: Any) -> LiveValue:
        known = self.constants.get(id(value))
        if known is None:
            aval = jax.typeof(value)
            size = (
                bytes_of(aval) if getattr(aval, "shape", ()) else 0
            )  # a number is part of the code
            known = self.constants[id(value)] = LiveValue(aval, size, argument="constants")
        return known

    def _visit(
        self, operation: Operation, operands: list[LiveValue], around: _Here
    ) -> list[LiveValue]:
        here = around.at(operation)
        called, control, kind = inner_call(operation), operation.control, operation_kind(operation)
        if called is not None:
            if around.outermost:
                for value, donated in zip(operands, operation.donated, strict=False):
                    value.donated = donated
            return self.follow(called[0], [operands[at] for at in called[1]], here)
        if kind in _SAME_VALUE:
            return operands[: len(operation.results)]
        programs = programs_of(operation)
        if kind == "cond" and len(programs) == 1:  # that of the platform
            return self.follow(programs[0], operands[1:], here)
        step = TimelineStep(operation, here.place.layer, here.backward, operands, [])
        if isinstance(control, ScanLoop):
            _fill_loop(step, control, here)
        else:
            step.results = [
                here.value(aval, 0 if kind == "iota" else None) for aval in operation.results
            ]
            if isinstance(control, WhileLoop):
                first = control.test_operands + control.body_operands
                step.in_place = list(zip(operands[first:], step.results, strict=True))
            elif kind not in _READS_TWICE and len(step.results) == 1:
                step.in_place = [(value, step.results[0]) for value in operands]
            step.within = max(
                (_held_within(each, here) for each in programs), key=_total, default=[]
            )
        self.steps.append(step)
        return step.results


def _held_within(program: Program, here: _Here) -> list[LiveValue]:
    """Return what a program holds at its peak, beside its arguments."""
    return _inner(program, [0] * len(program.arguments), here).peak()[1]


def _inner(program: Program, sizes: list[int], here: _Here) -> Timeline:
    given = [here.value(aval, size) for aval, size in zip(program.arguments, sizes, strict=True)]
    for value in given:
        value.donated = True  # a row of a loop is its own
    builder = _Builder()
    return _timed(builder, given, builder.follow(program, given, here))


def _total(values: list[LiveValue]) -> int:
    return sum(value.bytes for value in values)


def _fill_loop(step: TimelineStep, loop: ScanLoop, here: _Here) -> None:
    """Let a loop make its results, each told to come from what makes it in the body."""
    outside = loop.shared + loop.carried  # they lie where the loop's operands and results do
    rows = [bytes_of(aval) for aval in loop.body.arguments[outside:]]
    body = _inner(loop.body, [0] * outside + rows, here)
    step.within = body.peak()[1]
    for aval, inside in zip(step.operation.results, body.results, strict=True):
        made = here.value(aval)
        if inside.made:
            made = replace(made, layer=inside.layer, made=inside.made)
        step.results.append(made)
    carried = step.operands[loop.shared : outside]
    step.in_place = list(zip(carried, step.results[: loop.carried], strict=True))


def _timed(builder: _Builder, given: list[LiveValue], results: list[LiveValue]) -> Timeline:
    """Leave out steps that nobody needs, and number the first and last step of each value."""
    read = {id(value) for value in results}
    steps: list[TimelineStep] = []
    for step in reversed(builder.steps):
        if step.operation.acts or any(id(value) in read for value in step.results):
            read.update(id(value) for value in step.operands)
            steps.append(step)
    steps.reverse()
    for number, step in enumerate(steps):
        for value in step.operands:
            value.last = number
            value.read_backward = value.read_backward or step.backward
        for value in step.results:
            value.first = value.last = number
    end = max(len(steps) - 1, 0)
    arguments = [*given, *builder.constants.values()]
    for value in results:
        value.returned, value.last = True, end
    for value in arguments:
        value.first = 0
        value.last = max(value.last, 0) if value.donated and not value.returned else end
    return Timeline(steps, arguments, results)


def _replaced(step: TimelineStep, number: int) -> list[LiveValue]:
    """Return the operands whose places a step's results take."""
    taken: dict[int, LiveValue] = {}
    filled: set[int] = set()
    for operand, result in step.in_place:
        ends = operand.last == number and not operand.returned
        ends = ends and (bool(operand.made) or operand.donated)  # other arguments stay as they are
        if ends and operand.bytes == result.bytes and id(result) not in filled:
            taken[id(operand)] = operand
            filled.add(id(result))
    return list(taken.values())
