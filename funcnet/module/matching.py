"""Whether trees fit a layout: every missing, unexpected or ill-shaped entry, by path."""

from collections.abc import Mapping
from typing import Any

import jax

from funcnet.core.errors import ParameterTreeError, ShapeMismatchError
from funcnet.core.paths import flatten
from funcnet.module.description import Layout

__all__ = ["fits", "kind_of", "match_paths", "matched", "mismatch_message"]


def kind_of(value: Any) -> str:
    """Describe a value for a message: its type, and its shape if it has one."""
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__}" + (f" of shape {tuple(shape)}" if shape is not None else "")


def matched(layout: Layout, tree: Mapping[str, Any], which: str) -> dict[str, Any]:
    """Check one tree against the layout and return its arrays by path."""
    if not isinstance(tree, Mapping):
        raise TypeError(
            f"{which} must be nested dicts of arrays, as init returns; got {kind_of(tree)}"
        )
    expected = layout.parameters if which == "params" else layout.buffers
    values = match_paths(expected, flatten(tree), which)
    for path in expected:
        _check_shape(path, layout.shape(path), values[path])
    return values


def match_paths(expected: Mapping[str, Any], values: dict[str, Any], which: str) -> dict[str, Any]:
    """Check that a flat tree has the expected paths, no more and no fewer, and return it."""
    missing = [path for path in expected if path not in values]
    unexpected = [path for path in values if path not in expected]
    if missing or unexpected:
        raise ParameterTreeError(
            mismatch_message(f"{which} does not fit the module", missing, unexpected)
        )
    return values


def mismatch_message(problem: str, missing: list[str], unexpected: list[str]) -> str:
    """List every missing and unexpected name, a line each kind."""
    lines = [problem]
    if missing:
        lines.append(f"  missing: {', '.join(missing)}")
    if unexpected:
        lines.append(f"  unexpected: {', '.join(unexpected)}")
    return "\n".join(lines)


def fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    """Say whether a shape is the declared one, where that is known."""
    return len(shape) == len(declared) and all(
        known is None or size == known for size, known in zip(shape, declared, strict=True)
    )


def _check_shape(path: str, declared: tuple[int | None, ...], value: Any) -> None:
    shape = getattr(value, "shape", None)
    if shape is None or fits(tuple(shape), declared):
        return
    if jax.sharding.get_abstract_mesh().manual_axes:
        return  # inside shard_map an array is this device's part of the declared one
    hint = " For several models stacked on a leading axis, use jax.vmap over apply"
    raise ShapeMismatchError(
        f"{path} has shape {tuple(shape)}; the module declares {declared}."
        + (hint if len(shape) > len(declared) else "")
    )
