"""What a caller gives to a loaded function, against what the file says that it takes."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import PyTree
from funcnet.export.lengths import evaluate_length, symbols_of
from funcnet.export.records import FunctionRecord
from funcnet.export.specs import ArraySpec
from funcnet.export.trees import leaf_paths, list_leaves

__all__ = ["argument_names", "check_inputs", "check_weights", "check_width", "solve_sizes"]


def argument_names(record: FunctionRecord) -> list[str]:
    """Name the inputs as a caller counts them: of a tree of arrays, the part before the first dot."""
    names, position = [], 0
    for tree in record.inputs_tree["tuple"]:
        count = len(leaf_paths(tree))
        name = str(record.inputs[position].name) if count else f"input_{len(names)}"
        names.append(name if tree == "array" else name.partition(".")[0])
        position += count
    return names


def check_inputs(
    where: str, record: FunctionRecord, inputs: Sequence[PyTree], named: Mapping[str, PyTree]
) -> list[Any]:
    """Turn what was given into arrays of the dtypes and numbers of axes that are expected, in order.

    Raises:
        TypeError: an input is missing, unknown, no array or of another dtype.
        ValueError: one has another shape.
    """
    names = argument_names(record)
    given = [*inputs, *_in_place(where, names, len(inputs), named)]
    leaves = []
    for tree, name, value in zip(record.inputs_tree["tuple"], names, given, strict=True):
        refuse = lambda text: TypeError(f"{where}: {text}")  # noqa: E731
        leaves += [leaf for _, leaf in list_leaves(tree, value, name, refuse)]
    arrays = [_array(where, each, leaf) for each, leaf in zip(record.inputs, leaves, strict=True)]
    solve_sizes(where, record.inputs, arrays)
    return arrays


def _in_place(
    where: str, names: Sequence[str], count: int, named: Mapping[str, PyTree]
) -> list[PyTree]:
    """Order the inputs that were given by name, after those that were given by place."""
    rest = names[count:]
    if count > len(names) or {*named} != {*rest}:
        unknown = [name for name in named if name not in rest]
        missing = [name for name in rest if name not in named]
        told = f"{where} takes {len(names)} input{'s' * (len(names) != 1)}: {', '.join(names) or 'none'}"
        told += f"; got {count} by place"
        told += f" and {', '.join(named)} by name" if named else ""
        told += f"; missing: {', '.join(missing)}" if missing else ""
        told += f"; unknown: {', '.join(unknown)}" if unknown else ""
        settled = "train" in unknown or "key" in unknown
        told += " (settings, such as train, were fixed when it was exported)" if settled else ""
        raise TypeError(told)
    return [named[name] for name in rest]


def _array(where: str, expected: ArraySpec, value: Any) -> Any:
    """Make an array of a leaf; Python's numbers take the dtype that is expected, arrays must have it."""
    dtype = np.dtype(expected.dtype)
    if type(value) in (bool, int, float, complex):
        if not np.can_cast(_kind(value), dtype, "same_kind") or expected.shape:
            raise TypeError(f"{where}: {expected.name} is {expected}, got the number {value!r}")
        return jnp.asarray(value, dtype)
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError):
        raise TypeError(
            f"{where}: {expected.name} is an array {expected}, got {type(value).__name__}"
        ) from None
    got = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
    check_width(where, str(expected.name), dtype)
    if array.dtype != dtype:
        raise TypeError(
            f"{where}: {expected.name} is {expected}, got {got}; convert it: x.astype({dtype.name!r})"
        )
    if array.ndim != len(expected.shape):
        raise ValueError(
            f"{where}: {expected.name} is {expected}, got {got}: {array.ndim} axes instead of {len(expected.shape)}"
        )
    return array


def check_width(where: str, name: str, dtype: Any) -> None:
    """Refuse numbers in 64 bits where JAX would make 32 of them without a word.

    Raises:
        TypeError: it would.
    """
    if jax.dtypes.canonicalize_dtype(dtype) != dtype:
        raise TypeError(
            f"{where} has numbers in 64 bits ({name} is {dtype}), which are off in this process: call "
            "jax.config.update('jax_enable_x64', True) first"
        )


def _kind(value: Any) -> np.dtype:
    return np.dtype({bool: "?", int: "i1", float: "f2", complex: "c8"}[type(value)])


def solve_sizes(where: str, specs: Sequence[ArraySpec], arrays: Sequence[Any]) -> dict[str, int]:
    """Find the number of each symbol, and hold all lengths to them.

    A symbol that stands in sums and products alone is left out, for JAX to work out.

    Raises:
        ValueError: a length is another than is written, or than another input has.
    """
    sizes: dict[str, int] = {}
    first: dict[str, str] = {}
    for spec, array in zip(specs, arrays, strict=True):
        for length, got in zip(spec.shape, array.shape, strict=True):
            if isinstance(length, str) and symbols_of([length]) == [length] and length not in sizes:
                sizes[length], first[length] = got, str(spec.name)
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{where}: {name}, a length of {first[name]}, must be at least 1")
    for spec, array in zip(specs, arrays, strict=True):
        _check_fit(where, spec, array, sizes, first)
    return sizes


def _check_fit(
    where: str,
    spec: ArraySpec,
    array: Any,
    sizes: Mapping[str, int],
    first: Mapping[str, str],
) -> None:
    """Refuse an array with another length than its spec has at these sizes."""
    for axis, (length, got) in enumerate(zip(spec.shape, array.shape, strict=True)):
        symbols = symbols_of([length])
        if any(name not in sizes for name in symbols):
            continue
        expected = evaluate_length(length, sizes)
        if expected != got:
            told = [f"{name} is {sizes[name]} by {first[name]}" for name in symbols]
            because = f", where {' and '.join(told)}" if told else ""
            shape = ", ".join(map(str, array.shape))
            raise ValueError(
                f"{where}: {spec.name} is {spec}{because}, so axis {axis} has length {expected}; got shape ({shape})"
            )


def check_weights(
    where: str, expected: Mapping[str, np.ndarray], given: Sequence[tuple[str, Any]]
) -> dict[str, Any]:
    """Name the arrays of params and state that a caller gives, and refuse those of other shapes or dtypes."""
    arrays = {}
    for name, value in given:
        array, own = jnp.asarray(value), expected[name]
        if array.shape != own.shape or array.dtype != own.dtype:
            raise ValueError(
                f"{where}: {name} is {own.dtype}{list(own.shape)}, got {array.dtype}{list(array.shape)}"
            )
        arrays[name] = array
    return arrays
