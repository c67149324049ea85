"""What looks wrong in a compiled step, in words: traffic and memory that rules were meant to avoid."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from funcnet.core.files import readable_bytes
from funcnet.core.paths import leaves_with_paths
from funcnet.parallel.plans.collectives import Collective
from funcnet.parallel.plans.origins import layer_of
from funcnet.parallel.plans.program_text import ProgramText

__all__ = ["suspicions"]

MOST_NAMES = 3
SMALL = 1 << 16
"""Arrays of fewer elements may be whole on every device: to spread them saves nothing."""


def suspicions(
    compiled: Any, program: ProgramText, collectives: Sequence[Collective]
) -> tuple[str, ...]:
    """List what a reader should look at before the step runs.

    Args:
        compiled: the compiled step.
        program: its text.
        collectives: what devices send each other.
    """
    arguments = _Arguments(compiled, program)
    return (
        *_moved_activations(collectives, arguments.largest),
        *_whole_beside_spread(arguments),
        *_changed_placement(compiled),
    )


class _Arguments:
    """The arrays that the step takes, with their shardings; parameters are told by name."""

    def __init__(self, compiled: Any, program: ProgramText) -> None:
        arrays, treedef = jax.tree.flatten(compiled.args_info)
        shardings = treedef.flatten_up_to(compiled.input_shardings)
        # what the step does not use has no sharding, and is no argument of the program
        kept = [pair for pair in zip(arrays, shardings, strict=True) if pair[1] is not None]
        names = [layer_of(one.attribute("op_name")) for one in program.parameters()]
        if len(names) != len(kept):
            names = [str(number) for number in range(len(kept))]
        named = dict(zip(names, kept, strict=True))
        params = {path: pair for path, pair in named.items() if "params" in path.split(".")}
        self.params = params or named
        self.largest = max((_size(array) for array, _ in self.params.values()), default=0)


def _size(array: Any) -> int:
    return math.prod(array.shape)


def _moved_activations(collectives: Sequence[Collective], largest: int) -> Iterator[str]:
    """Say which exchanges move arrays that are larger than any parameter, or move them across."""
    for one in collectives:
        elements = one.count * sum(_elements(array) for array in one.arrays)
        what = f"{one.kind} of {', '.join(one.arrays)}{_place(one)}"
        if one.kind == "all-gather" and elements > largest:
            yield f"{what} gathers activations, as it is larger than any parameter: a rule is missing"
        elif one.kind == "all-to-all" and elements * one.devices > largest:
            yield f"{what} moves activations: experts need that, other rules do not"


def _elements(array: str) -> int:
    return math.prod(int(size) for size in array.partition("[")[2][:-1].split(",") if size)


def _place(one: Collective) -> str:
    of = f" of {one.layer}" if one.layer else ""
    return of + (f" ({one.line})" if one.line else "")


def _whole_beside_spread(arguments: _Arguments) -> Iterator[str]:
    """Say which parameters are whole on every device though others are spread."""
    spread = [
        path for path, (_, sharding) in arguments.params.items() if not sharding.is_fully_replicated
    ]
    whole = [
        (path, array)
        for path, (array, sharding) in arguments.params.items()
        if sharding.is_fully_replicated and _size(array) >= SMALL
    ]
    if spread and whole:
        size = sum(_size(array) * array.dtype.itemsize for _, array in whole)
        yield (
            f"{_names([path for path, _ in whole])} of {readable_bytes(size)} is whole on every device while other "
            "parameters are spread: no rule matches it, or no dimension divides"
        )


def _names(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else ""
    return ", ".join(paths[:MOST_NAMES]) + more


def _changed_placement(compiled: Any) -> Iterator[str]:
    """Say which arrays come out spread in another way than they went in."""
    arguments, _ = compiled.args_info
    shardings, _ = compiled.input_shardings
    for argument, sharding in zip(arguments, shardings, strict=True):
        for result, after in _results(compiled):
            if _follows(result, argument):
                changed = _changed(argument, sharding, after)
                if changed:
                    yield (
                        "results are spread in another way than the arguments that they follow: "
                        f"{_names(changed)}; the next step compiles again, and memory that was "
                        "donated is not used: fix it with out_shardings"
                    )
                break


def _results(compiled: Any) -> list[tuple[Any, Any]]:
    """Give what the step returns, whole and piece by piece, with shardings."""
    whole, shardings = compiled.out_info, compiled.output_shardings
    pieces = zip(whole, shardings, strict=True) if type(whole) is tuple else ()
    return [(whole, shardings), *pieces]


def _follows(result: Any, argument: Any) -> bool:
    """Whether a result is the next step's argument: the same arrays, and not one alone by chance."""
    before, after = (dict(leaves_with_paths(tree)) for tree in (argument, result))
    if len(before) < 2 and not any(leaf.donated for leaf in before.values()):
        return False
    return before.keys() == after.keys() and all(
        (leaf.shape, leaf.dtype) == (after[path].shape, after[path].dtype)
        for path, leaf in before.items()
    )


def _changed(argument: Any, before: Any, after: Any) -> list[str]:
    ranks = {path: len(leaf.shape) for path, leaf in leaves_with_paths(argument)}
    old, new = dict(leaves_with_paths(before)), dict(leaves_with_paths(after))
    return [
        path or "the argument"
        for path, rank in ranks.items()
        if path in old and path in new and not old[path].is_equivalent_to(new[path], rank)
    ]
