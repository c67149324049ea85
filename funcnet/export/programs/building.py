"""Programs of a function: which there are, and how each is lowered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.jax_internals.portable import lower_portably
from funcnet.export.flat import FlatFunction, structs
from funcnet.export.records import GradientRecord, ProgramRecord

__all__ = [
    "Built",
    "build_gradients",
    "build_programs",
    "gradient_function",
    "gradient_record",
    "resolve_sizes",
]

Sizes = Mapping[str, int] | None


@dataclass(frozen=True)
class Built:
    """A program and what the manifest says of it."""

    record: ProgramRecord
    program: bytes


def resolve_sizes(symbols: Sequence[str], sizes: Sequence[Mapping[str, int]] | None) -> list[Sizes]:
    """Tell for which sizes there are programs: None, the symbols left open, comes first.

    Raises:
        ValueError: a size is missing, unknown or no positive number.
    """
    if not symbols:
        if sizes:
            raise ValueError("sizes are given, but no input has an open length such as 'batch'")
        return [None]
    if sizes is None:
        sizes = (
            [{symbols[0]: 1}, {symbols[0]: 32}]
            if len(symbols) == 1
            else [dict.fromkeys(symbols, 1)]
        )
    for each in sizes:
        if {*each} != {*symbols} or any(type(n) is not int or n < 1 for n in each.values()):
            raise ValueError(
                f"sizes must give each of {', '.join(symbols)} a positive number, as "
                f"{dict.fromkeys(symbols, 1)}; got {dict(each)}"
            )
    return [None, *({name: each[name] for name in symbols} for each in sizes)]


def build_programs(
    name: str, flat: FlatFunction, all_sizes: Sequence[Sizes], platforms: Sequence[str]
) -> list[Built]:
    """Lower a function for each platform and size."""

    def call(*arrays: Any) -> list[Any]:
        return flat.call(arrays[: len(flat.weights)], arrays[len(flat.weights) :])

    def arguments(sizes: Sizes) -> list[Any]:
        return [arg for part in flat.arguments(sizes) for arg in part]

    return _built(name, call, arguments, all_sizes, platforms)


def _built(
    name: str,
    call: Callable[..., Any],
    arguments: Callable[[Sizes], list[Any]],
    all_sizes: Sequence[Sizes],
    platforms: Sequence[str],
) -> list[Built]:
    made = []
    for platform in platforms:
        for sizes in all_sizes:
            program, calls = lower_portably(call, arguments(sizes), platform)
            told = "" if sizes is None else "." + ",".join(f"{k}={v}" for k, v in sizes.items())
            file = f"programs/{name}.{platform}{told}.mlirbc"
            made.append(Built(ProgramRecord(file, platform, sizes, not calls), program))
    return made


def gradient_record(flat: FlatFunction) -> GradientRecord:
    """Tell which arrays of a function have derivatives: floats, whether they are trained or not."""
    return GradientRecord(
        weights=tuple(name for name, a in flat.weights.items() if _is_inexact(a)),
        inputs=tuple(i for i, each in enumerate(flat.inputs) if _is_inexact(each)),
        outputs=tuple(i for i, each in enumerate(flat.outputs) if _is_inexact(each)),
        programs=(),
    )


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

    return _built(f"{name}.gradient", gradient_function(flat), arguments, all_sizes, platforms)
