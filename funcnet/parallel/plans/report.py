"""Plan: the numbers of a step, and how they are laid out as text: identical exchanges are one line."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from jax.sharding import Mesh

from funcnet.core.files import readable_bytes
from funcnet.parallel.plans.collectives import Collective
from funcnet.parallel.plans.origins import without_numbers

__all__ = ["Plan", "readable_bytes"]

MOST_LINES = 24
"""How many lines of exchanges are shown; the others are added up."""


@dataclass(frozen=True, repr=False)
class Plan:
    """What one step costs; a table when printed.

    All bytes are those of one device.

    Attributes:
        devices: how many run the step.
        mesh: over which its arguments are spread; None for one device.
        arguments: bytes by argument; one with attributes, such as a `TrainState`, by attribute:
            ``{"run.params": 1024, "run.opt_state": 2048, "batch": 64}``.
        outputs: bytes of what it returns, with what takes the memory of an argument.
        aliased: bytes of outputs that take the memory of donated arguments.
        temporaries: bytes that it needs besides while it runs.
        program: bytes of its machine code.
        collectives: what devices send each other, those that send most first.
        warnings: what looks wrong, in words.
        compiled: the compiled step, to be called like the step itself: it need not be compiled again.

    Example:
        >>> step = jax.jit(lambda weight, x: weight - 0.1 * (x.T @ x), donate_argnums=0)
        >>> plan = fn.parallel.plan(step, jnp.ones((4, 4)), jnp.ones((8, 4)))
        >>> plan.arguments, plan.aliased, plan.devices
        ({'weight': 64, 'x': 128}, 64, 1)
    """

    devices: int
    mesh: Mesh | None
    arguments: dict[str, int]
    outputs: int
    aliased: int
    temporaries: int
    program: int
    collectives: tuple[Collective, ...]
    warnings: tuple[str, ...]
    compiled: Any = field(compare=False)

    @property
    def total(self) -> int:
        """The bytes that the step needs on each device."""
        outputs = self.outputs - self.aliased
        return sum(self.arguments.values()) + outputs + self.temporaries + self.program

    @property
    def sent(self) -> int:
        """The bytes that each device sends in a step."""
        return sum(one.sent * one.count for one in self.collectives)

    def __str__(self) -> str:
        """Lay the numbers out as text."""
        return "\n".join(_lines(self))

    __repr__ = __str__


def _lines(plan: Plan) -> list[str]:
    where = _where(plan.devices, plan.mesh)
    lines = [f"{where}: bytes of one device", *_memory(plan), "", *_exchanges(plan)]
    if plan.warnings:
        lines += ["", "look at", *(f"  - {warning}" for warning in plan.warnings)]
    return lines


def _where(devices: int, mesh: Mesh | None) -> str:
    count = f"{devices} device{'s' * (devices != 1)}"
    if mesh is None:
        return count
    return f"{count}, " + " x ".join(f"{name}={size}" for name, size in mesh.shape.items())


def _memory(plan: Plan) -> list[str]:
    rows = dict(plan.arguments)
    rows["outputs in memory of their own"] = plan.outputs - plan.aliased
    rows |= {"temporaries": plan.temporaries, "program": plan.program}
    shown = {name: size for name, size in rows.items() if size} | {"together": plan.total}
    width = max(map(len, shown))
    return [f"  {name:<{width}}  {readable_bytes(size):>10}" for name, size in shown.items()]


def _exchanges(plan: Plan) -> list[str]:
    if not plan.collectives:
        return ["devices send each other nothing"]
    groups: dict[object, list[Collective]] = defaultdict(list)
    for one in plan.collectives:
        groups[_alike(one)].append(one)
    ordered = sorted(groups.values(), key=lambda ones: -sum(one.sent * one.count for one in ones))
    table = [("times", "exchange", "along", "sent", "for", "line"), *map(_row, ordered)]
    shown, rest = table[: MOST_LINES + 1], ordered[MOST_LINES:]
    widths = [max(len(row[column]) for row in shown) for column in range(6)]
    lines = [
        f"  {a:>{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}  "
        f"{e:<{widths[4]}}  {f}".rstrip()
        for a, b, c, d, e, f in shown
    ]
    if rest:
        size = sum(one.sent * one.count for ones in rest for one in ones)
        lines.append(f"  and {len(rest)} more kinds, {readable_bytes(size)}")
    return ["each device sends in a step " + readable_bytes(plan.sent), *lines]


def _alike(one: Collective) -> object:
    layer = without_numbers(one.layer)
    return one.kind, one.axes, one.devices, one.arrays, layer, one.is_backward, one.line


def _row(ones: list[Collective]) -> tuple[str, str, str, str, str, str]:
    one = ones[0]
    count = sum(each.count for each in ones)
    sure = all(each.count_is_sure for each in ones)
    arrays = ", ".join(one.arrays[:2]) + (", …" if len(one.arrays) > 2 else "")
    along = f"{one.devices} devices" if one.axes is None else ", ".join(one.axes)
    layers = {each.layer for each in ones}
    layer = one.layer if len(layers) == 1 else without_numbers(one.layer)
    layer = (layer or f"({one.operation})") + (", backward" if one.is_backward else "")
    sent = sum(each.sent * each.count for each in ones)
    times = f"{count}" if sure else f"{count} or more"
    return f"{times} x", f"{one.kind} {arrays}", along, readable_bytes(sent), layer, one.line
