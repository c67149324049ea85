"""Which layer of a model does how many operations, and how many bytes it makes, of its traced call."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.jax_internals.obstacles import programs_within
from funcnet.core.jax_internals.operations import inner_call, operation_kind, settings_of
from funcnet.core.jax_internals.programs import (
    Branches,
    Operation,
    Program,
    ScanLoop,
    WhileLoop,
)
from funcnet.module.summaries.arithmetic import arithmetic_of

__all__ = ["Counts", "Marks", "count_operations"]


@dataclass
class Counts:
    """What was counted.

    Attributes:
        operations: by the path of the layer that does them itself.
        bytes: of the arrays that layers returned, likewise.
        unknown: names of operations that could not be counted.
        open_loops: how many loops had no known length: one turn of each was counted.
    """

    operations: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    unknown: set[str] = field(default_factory=set)
    open_loops: int = 0

    @property
    def total(self) -> int:
        """All operations."""
        return self.operations.total()

    def add(self, other: "Counts") -> None:
        """Add what was counted elsewhere."""
        self.operations += other.operations
        self.bytes += other.bytes
        self.unknown |= other.unknown
        self.open_loops += other.open_loops


class Marks:
    """Marks in a program where layers return arrays, so that those in a loop are counted as often as it turns."""

    prefix = "funcnet_output_"

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.marked: dict[int, Any] = {}

    def mark(self, path: str, output: Any) -> Any:
        """Return a layer's output, marked; what a part of it has returned already stays as it is."""
        name = f"{self.prefix}{len(self.paths)}"
        self.paths.append(path)

        def one(leaf: Any) -> Any:
            if not _is_numbers(leaf) or id(leaf) in self.marked:
                return leaf
            with jax.named_scope(name):
                leaf = jax.lax.optimization_barrier(leaf)
            self.marked[id(leaf)] = leaf  # kept, so that no other array gets its number
            return leaf

        return jax.tree.map(one, output)

    def found(self, operation: Operation) -> str | None:
        """Return whose output an operation marks."""
        scope = operation.scope
        if not scope.startswith(self.prefix):
            return None
        return self.paths[int(scope.removeprefix(self.prefix))]


def count_operations(
    program: Program, kinds: Mapping[str, str] | None = None, marks: Marks | None = None
) -> Counts:
    """Count the operations of a traced program; those of a loop as often as it turns.

    Of a choice (`jax.lax.cond`) the branch with the most is counted; of forms for several platforms, the one for
    those that are not named.

    Args:
        program: of a function.
        kinds: the names of a model's classes by its modules' paths, to tell whose operations they are.
        marks: that were made in it.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.module.summaries.counting import count_operations
        >>> power = lambda x: jax.lax.fori_loop(0, 10, lambda i, y: x @ y, x)
        >>> count_operations(trace(power, jnp.ones((4, 4)))[0]).total == 10 * 2 * 4 * 4 * 4
        True
    """
    counts = Counts()
    _count(program, _Place(kinds or {"": ""}), marks, 1, counts)
    return counts


@dataclass(frozen=True)
class _Place:
    """Where in a model an operation is.

    Attributes:
        kinds: the names of classes by paths.
        layer: the path of the module around it.
        base: the path of the part of the model that runs as a model of its own (as the block of `nn.Repeat` does),
            whose scopes begin anew: with the name of its class, then paths within it.
        begun: whether the scope of the model itself was met.
    """

    kinds: Mapping[str, str]
    layer: str = ""
    base: str = ""
    begun: bool = False

    def entered(self, scopes: tuple[str, ...]) -> "_Place":
        """Return the place within more scopes."""
        place = self
        for scope in scopes:
            place = place._within(scope)
        return place

    def _within(self, scope: str) -> "_Place":
        if not self.begun and scope == self.kinds[""]:
            return replace(self, begun=True)
        path = f"{self.base}.{scope}" if self.base else scope
        if path in self.kinds and _is_below(path, self.layer):
            return replace(self, layer=path, begun=True)
        if scope == self.kinds.get(self.base) and self.base:
            return self
        parts = [
            path
            for path, kind in self.kinds.items()
            if kind == scope and path != self.layer and _is_below(path, self.layer)
        ]
        nearest = [path for path in parts if path.count(".") == min(p.count(".") for p in parts)]
        if len(nearest) == 1:
            return replace(self, layer=nearest[0], base=nearest[0])
        return self


def _is_below(path: str, above: str) -> bool:
    return not above or path == above or path.startswith(f"{above}.")


def _count(
    program: Program, around: _Place, marks: Marks | None, times: int, counts: Counts
) -> None:
    places: dict[tuple[str, ...], _Place] = {}
    for operation in program.operations:
        scopes = tuple(operation.scopes)
        if scopes not in places:
            places[scopes] = around.entered(scopes)
        place = places[scopes]
        if marks is not None and (path := marks.found(operation)) is not None:
            counts.bytes[path] += times * sum(map(_bytes, operation.results))
            continue
        within = _programs(operation)
        control = operation.control
        if isinstance(control, Branches) and len(within) > 1:
            counts.add(_largest(within, place, marks, times))
        elif within:
            turns = _turns(operation)
            counts.open_loops += isinstance(control, WhileLoop)
            for inner in within:
                _count(inner, place, marks, times * turns, counts)
        else:
            _note(operation, place, times, counts)


def _note(operation: Operation, place: _Place, times: int, counts: Counts) -> None:
    number = arithmetic_of(operation)
    if number is None:
        counts.unknown.add(operation.name)
    elif number:
        counts.operations[place.layer] += times * number


def _programs(operation: Operation) -> list[Program]:
    """Return the programs that an operation runs; a function that joins two numbers is none."""
    called = inner_call(operation)
    if called is not None:
        return [called[0]]
    kind = operation_kind(operation)
    joins = kind.startswith(("reduce", "scatter", "select_and"))
    return [] if joins else programs_within(operation, None)


def _turns(operation: Operation) -> int:
    control = operation.control
    if isinstance(control, ScanLoop):
        return control.length
    if operation_kind(operation) == "unknown:shard_map":  # its program is that of one device
        return math.prod(settings_of(operation)["mesh"].shape.values())
    return 1


def _largest(programs: list[Program], place: _Place, marks: Marks | None, times: int) -> Counts:
    found = []
    for program in programs:
        found.append(Counts())
        _count(program, place, marks, times, found[-1])
    return max(found, key=lambda counts: counts.total)


def _is_numbers(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def _bytes(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize
