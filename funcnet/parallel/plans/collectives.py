"""What devices send each other in one step: every collective of a compiled program."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from jax.sharding import Mesh

from funcnet.parallel.plans.device_groups import axes_of, read_groups
from funcnet.parallel.plans.origins import layer_of, line_of
from funcnet.parallel.plans.program_text import Instruction, PrintedArray, ProgramText

__all__ = ["Collective", "find_collectives"]

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
)
"""XLA's operations that exchange data between devices."""


@dataclass(frozen=True)
class Collective:
    """An exchange between devices.

    Attributes:
        kind: ``all-reduce``, ``all-gather``, ``reduce-scatter``, ``all-to-all``, ``collective-permute``, …
        count: how often it runs in a step.
        count_is_sure: False within a loop whose number of turns XLA does not know: it counts as one.
        arrays: what it gives on one device, such as ``f32[8,16]``.
        bytes: of these arrays, each time.
        sent: the bytes that a device sends each time, if the exchange goes round a ring: of ``n`` devices,
            ``2 (n - 1) / n`` of the array in an all-reduce, ``(n - 1) / n`` of the whole in the others.
        devices: how many exchange with each other, ``n``.
        axes: the mesh's axes along which they do; None if it is not along axes.
        layer: the dotted path of the module that caused it; of an argument its path; ``""`` outside of both.
        is_backward: whether the backward pass asks for it.
        line: the line of Python that caused it, ``"file.py:12"``: the innermost outside of funcnet.
        operation: JAX's operation that caused it, such as ``dot_general``.

    Example:
        >>> mesh = fn.parallel.mesh(data=-1)
        >>> step = jax.jit(lambda x: x.sum())
        >>> plan = fn.parallel.plan(step, jax.device_put(jnp.ones(8), fn.parallel.batch_sharding(mesh)))
        >>> all(isinstance(found, fn.parallel.Collective) for found in plan.collectives)
        True
    """

    kind: str
    count: int
    count_is_sure: bool
    arrays: tuple[str, ...]
    bytes: int
    sent: int
    devices: int
    axes: tuple[str, ...] | None
    layer: str
    is_backward: bool
    line: str
    operation: str


def find_collectives(
    program: ProgramText, mesh: Mesh | None = None, step: str = ""
) -> tuple[Collective, ...]:
    """List the collectives of a program, those that send most first.

    Args:
        program: as XLA prints it.
        mesh: of its arguments, for the names of axes.
        step: the qualified name of the function that was compiled.
    """
    found = [
        _collective(program, instruction, kind, mesh, step)
        for instruction, kind in _exchanges(program)
        if program.runs[instruction.computation][0]
    ]
    alone = [one for one in found if one.devices > 1]
    return tuple(sorted(alone, key=lambda one: -one.sent * one.count))


def _exchanges(program: ProgramText) -> Iterator[tuple[Instruction, str]]:
    for instruction in program:
        kind = instruction.operation.removesuffix("-start")
        if kind in KINDS:
            yield instruction, kind


def _collective(
    program: ProgramText, instruction: Instruction, kind: str, mesh: Mesh | None, step: str
) -> Collective:
    count, sure = program.runs[instruction.computation]
    groups = read_groups(instruction.rest, program.devices)
    arrays = _results(program, instruction)
    size = sum(array.nbytes for array in arrays)
    origin = program.origin(instruction)
    name = origin.attribute("op_name")
    return Collective(
        kind=kind,
        count=count,
        count_is_sure=sure,
        arrays=tuple(map(str, arrays)),
        bytes=size,
        sent=ring_bytes(kind, size, groups.size),
        devices=groups.size,
        axes=axes_of(groups, mesh),
        layer=layer_of(name),
        is_backward="transpose(" in name,
        line=line_of(program.lines(origin), step),
        operation=re.split(r"[/:]", name)[-1].rstrip(")"),
    )


def _results(program: ProgramText, instruction: Instruction) -> tuple[PrintedArray, ...]:
    """Give what the exchange gives; the start of one also holds its inputs, so its end is asked."""
    if not instruction.operation.endswith("-start"):
        return instruction.arrays
    end = instruction.operation.removesuffix("start") + "done"
    for other in program.computations[instruction.computation]:
        if other.operation == end and f"%{instruction.name})" in other.rest:
            return other.arrays
    return instruction.arrays[len(instruction.arrays) // 2 :]


def ring_bytes(kind: str, size: int, devices: int) -> int:
    """Count the bytes that one device sends, if the exchange goes round a ring.

    Args:
        kind: XLA's name of the exchange.
        size: the bytes that it gives on one device.
        devices: how many take part.
    """
    if kind == "collective-permute":
        return size
    if kind == "reduce-scatter":  # gives one part of what it takes
        return size * (devices - 1)
    once = size * (devices - 1) // devices
    return 2 * once if kind == "all-reduce" else once
