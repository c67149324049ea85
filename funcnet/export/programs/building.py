"""Programs of a function: which there are, and how each is lowered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Params, State
from funcnet.core.jax_internals.portable import lower_portably
from funcnet.export.flat import FlatFunction, flatten_entry, structs
from funcnet.export.lengths import symbols_of
from funcnet.export.records import GradientRecord, ProgramRecord
from funcnet.export.specs import Entry

__all__ = [
    "Built",
    "build_gradients",
    "build_programs",
    "gradient_function",
    "gradient_record",
    "has_derivative",
    "resolve_sizes",
]

Sizes = Mapping[str, int] | None


@dataclass(frozen=True)
class Built:
    """A program and what the manifest says of it."""

    record: ProgramRecord
    program: bytes
    is_gradient: bool = False


def resolve_sizes(
    symbols: Sequence[str], sizes: Sequence[Mapping[str, int]] | None, symbolic: bool = True
) -> list[Sizes]:
    """Tell for which sizes there are programs; None stands for the one with symbols open.

    Args:
        symbols: of a function.
        sizes: that were asked for; without them 1 and 32 of a lone symbol, else 1 of each.
        symbolic: whether symbols are left open too.

    Raises:
        TypeError: they are no list of dicts.
        ValueError: a size is missing, unknown or no positive number.
    """
    if not symbols:
        if sizes:
            raise ValueError("sizes are given, but no input has an open length such as 'batch'")
        return [None]
    if sizes is None:
        numbers = (1, 32) if len(symbols) == 1 else (1,)
        sizes = [dict.fromkeys(symbols, n) for n in numbers]
    if isinstance(sizes, Mapping) or not all(isinstance(each, Mapping) for each in sizes):
        raise TypeError(
            f"sizes is a list of dicts, as [{dict.fromkeys(symbols, 1)}]; got {sizes!r}"
        )
    for each in sizes:
        if {*each} != {*symbols} or any(type(n) is not int or n < 1 for n in each.values()):
            raise ValueError(
                f"sizes must give each of {', '.join(symbols)} a positive number, as "
                f"{dict.fromkeys(symbols, 1)}; got {dict(each)}"
            )
    made = [{name: each[name] for name in symbols} for each in sizes]
    return [*([None] if symbolic else []), *made]


def possible_sizes(flat: FlatFunction, sizes: Sequence[Sizes], asked: bool) -> list[Sizes]:
    """Leave out the sizes at which a function cannot be called, unless a user asked for them.

    A batch of one image, for instance, has no statistics of its own.

    Raises:
        TypeError, ValueError: the function's own, at sizes that were asked for.
    """
    return [each for each in sizes if not each or _works(flat, each, asked)]


def _works(flat: FlatFunction, sizes: Mapping[str, int], asked: bool) -> bool:
    try:
        jax.eval_shape(flat.call, *flat.arguments(sizes))
    except (TypeError, ValueError, ArithmeticError, LookupError):
        if asked:
            raise
        return False
    return True


def is_traceable(entry: Entry, params: Params, state: State) -> bool:
    """Say whether a function of open lengths can be traced with some numbers instead."""
    symbols = symbols_of([n for each in jax.tree.leaves(entry.inputs) for n in each.shape])
    for number in (2, 8, 32) if symbols else ():
        try:
            flatten_entry(entry, params, state, [dict.fromkeys(symbols, number)])
            return True
        except (TypeError, ValueError, ArithmeticError, LookupError):
            continue
    return False


def build_programs(
    name: str, flat: FlatFunction, all_sizes: Sequence[Sizes], platforms: Sequence[str]
) -> list[Built]:
    """Lower a function for each platform and size."""

    def call(*arrays: Any) -> list[Any]:
        return flat.call(arrays[: len(flat.weights)], arrays[len(flat.weights) :])

    def arguments(sizes: Sizes) -> list[Any]:
        return [arg for part in flat.arguments(sizes) for arg in part]

    return [Built(*each) for each in _lowered(name, call, arguments, all_sizes, platforms)]


def _lowered(
    name: str,
    call: Callable[..., Any],
    arguments: Callable[[Sizes], list[Any]],
    all_sizes: Sequence[Sizes],
    platforms: Sequence[str],
) -> list[tuple[ProgramRecord, bytes]]:
    made = []
    for platform in platforms:
        for sizes in all_sizes:
            program, calls = lower_portably(call, arguments(sizes), platform)
            told = "" if sizes is None else "." + ",".join(f"{k}={v}" for k, v in sizes.items())
            file = f"programs/{name}.{platform}{told}.mlirbc"
            made.append((ProgramRecord(file, platform, sizes, not calls), program))
    return made


def gradient_record(flat: FlatFunction) -> GradientRecord:
    """Tell which arrays of a function have derivatives: floats, whether they are trained or not."""
    return GradientRecord(
        weights=tuple(name for name, a in flat.weights.items() if _is_inexact(a)),
        inputs=tuple(i for i, each in enumerate(flat.inputs) if _is_inexact(each)),
        outputs=tuple(i for i, each in enumerate(flat.outputs) if _is_inexact(each)),
        programs=(),
    )


def has_derivative(flat: FlatFunction) -> bool:
    """Say whether there is a floating-point array on both sides of a function."""
    record = gradient_record(flat)
    return bool(record.outputs and (record.weights or record.inputs))


def _is_inexact(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jnp.inexact)


def gradient_function(flat: FlatFunction) -> Callable[..., list[Any]]:
    """Make the function's derivative: of weights, inputs and cotangents; it computes the function again."""
    record = gradient_record(flat)
    names, count = list(flat.weights), len(flat.weights)
    places = [names.index(name) for name in record.weights]
    places += [count + i for i in record.inputs]

    def gradient(*arrays: Any) -> list[Any]:
        given, cotangents = arrays[: count + len(flat.inputs)], arrays[count + len(flat.inputs) :]

        def inexact(*chosen: Any) -> list[Any]:
            own = list(given)
            for place, value in zip(places, chosen, strict=True):
                own[place] = value
            outputs = flat.call(own[:count], own[count:])
            return [outputs[i] for i in record.outputs]

        _, pull = jax.vjp(inexact, *(given[place] for place in places))
        return list(pull(list(cotangents)))

    return gradient


def build_gradients(
    name: str, flat: FlatFunction, all_sizes: Sequence[Sizes], platforms: Sequence[str]
) -> list[Built]:
    """Lower a function's derivative for each platform and size."""

    def arguments(sizes: Sizes) -> list[Any]:
        weights, _ = flat.arguments(sizes)
        record = gradient_record(flat)
        outputs = [flat.outputs[i] for i in record.outputs]
        return weights + structs([*flat.inputs, *outputs], sizes)

    made = _lowered(f"{name}.gradient", gradient_function(flat), arguments, all_sizes, platforms)
    return [Built(*each, is_gradient=True) for each in made]
