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
from funcnet.module.summaries.arithmetic import arithmetic_of, is_product
from funcnet.module.summaries.places import LayerPlace, OpenPlace, Where

__all__ = ["Counts", "Marks", "count_program", "programs_of", "turns_of"]


@dataclass
class Counts:
    """What was counted.

    Attributes:
        operations: by the path of the layer that does them itself.
        products: those of matrix products and convolutions alone, likewise.
        backward: those of backward passes, likewise.
        bytes: of the arrays that layers returned, likewise.
        unknown: names of operations that could not be counted.
        open_loops: how many loops had no known length: one turn of each was counted.
    """

    operations: Counter[str] = field(default_factory=Counter)
    products: Counter[str] = field(default_factory=Counter)
    backward: Counter[str] = field(default_factory=Counter)
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
        self.products += other.products
        self.backward += other.backward
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


def count_program(
    program: Program, kinds: Mapping[str, str] | None = None, marks: Marks | None = None
) -> Counts:
    """Count the operations of a traced program; those of a loop as often as it turns.

    Of a choice (`jax.lax.cond`) the branch with the most is counted; of forms for several platforms, the one for
    those that are not named.

    Args:
        program: of a function.
        kinds: the names of a model's classes by its modules' paths, to tell whose operations they are; without them
            the scopes around operations tell.
        marks: that were made in it.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.module.summaries.counting import count_program
        >>> power = lambda x: jax.lax.fori_loop(0, 10, lambda i, y: x @ y, x)
        >>> count_program(trace(power, jnp.ones((4, 4)))[0]).total == 10 * 2 * 4 * 4 * 4
        True
    """
    counts = Counts()
    around = OpenPlace() if kinds is None else LayerPlace(kinds)
    _count(program, _Around(around, 1, False), marks, counts)
    return counts


@dataclass(frozen=True)
class _Around:
    """What calls and loops around a program say of its operations."""

    place: Where
    times: int
    backward: bool


def _count(program: Program, around: _Around, marks: Marks | None, counts: Counts) -> None:
    places: dict[tuple[str, ...], Where] = {}
    for operation in program.operations:
        scopes = tuple(operation.scopes)
        if scopes not in places:
            places[scopes] = around.place.entered(scopes)
        here = _Around(places[scopes], around.times, around.backward or operation.is_transposed)
        if marks is not None and (path := marks.found(operation)) is not None:
            counts.bytes[path] += around.times * sum(map(_bytes, operation.results))
            continue
        within = programs_of(operation)
        control = operation.control
        if isinstance(control, Branches) and len(within) > 1:
            counts.add(_largest(within, here, marks))
        elif within:
            counts.open_loops += isinstance(control, WhileLoop)
            inside = replace(here, times=here.times * turns_of(operation))
            for inner in within:
                _count(inner, inside, marks, counts)
        else:
            _note(operation, here, counts)


def _note(operation: Operation, here: _Around, counts: Counts) -> None:
    number = arithmetic_of(operation, here.backward)
    if number is None:
        counts.unknown.add(operation.name)
    elif number:
        layer, number = here.place.layer, here.times * number
        counts.operations[layer] += number
        if is_product(operation):
            counts.products[layer] += number
        if here.backward:
            counts.backward[layer] += number


def programs_of(operation: Operation) -> list[Program]:
    """Return the programs that an operation runs; a function that joins two numbers is none.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.module.summaries.counting import programs_of
        >>> program, _ = trace(jax.jit(jnp.tanh), 1.0)
        >>> [inner.operations[0].name for inner in programs_of(program.operations[0])]
        ['tanh']
    """
    called = inner_call(operation)
    if called is not None:
        return [called[0]]
    kind = operation_kind(operation)
    joins = kind.startswith(("reduce", "scatter", "select_and"))
    return [] if joins else programs_within(operation, None)


def turns_of(operation: Operation) -> int:
    """Return how often an operation runs its program; 1 if that is not known.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.module.summaries.counting import turns_of
        >>> loop, _ = trace(lambda x: jax.lax.scan(lambda c, _: (c, c), x, None, length=3), 1.0)
        >>> turns_of(loop.operations[-1])
        3
    """
    control = operation.control
    if isinstance(control, ScanLoop):
        return control.length
    if operation_kind(operation) == "unknown:shard_map":  # its program is that of one device
        return math.prod(settings_of(operation)["mesh"].shape.values())
    return 1


def _largest(programs: list[Program], here: _Around, marks: Marks | None) -> Counts:
    found = []
    for program in programs:
        found.append(Counts())
        _count(program, here, marks, found[-1])
    return max(found, key=lambda counts: counts.total)


def _is_numbers(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)


def _bytes(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize
