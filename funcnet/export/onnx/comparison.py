"""What a file computes, beside what the function computes: at batch 1, an even and an odd one, or on examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.errors import ExportError
from funcnet.export.flat import FlatFunction
from funcnet.export.onnx.runtime import run_model

__all__ = ["Check", "Comparison"]

_TOLERANCES = {2: 1e-2, 4: 1e-5, 8: 1e-5}
"""By bytes of a number: relative to the largest of an output."""


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        sizes: what the open lengths were; empty if there are none.
        error: the largest difference of all outputs, relative to the largest number of each.
    """

    sizes: Mapping[str, int]
    error: float


class Comparison:
    """What a function computes on some inputs, to be compared with files.

    Args:
        flat: the function.
        examples: inputs to use instead of drawn ones: a list of sets, each a list of arrays.

    Attributes:
        refused: sizes of inputs that the function itself does not take, and why; they are left out.
    """

    def __init__(self, flat: FlatFunction, examples: Sequence[Sequence[Any]] | None = None):
        self.flat = flat
        self.refused: list[str] = []
        self.expected: list[tuple[dict[str, int], list[Any], list[np.ndarray]]] = []
        for sizes, inputs in _given(examples) if examples else _drawn(flat):
            self._add(sizes, inputs)
        if not self.expected:
            raise ExportError(
                "ONNX: nothing could be compared, because the function itself refuses the inputs; give "
                f"examples=[(x, ...), ...]. {self.refused[0]}"
            )

    def _add(self, sizes: dict[str, int], inputs: list[Any]) -> None:
        try:
            self.expected.append((sizes, inputs, _computed(self.flat, inputs)))
        except Exception as error:  # whatever the user's function raises
            self.refused.append(f"at {_spelled(sizes)}: {type(error).__name__}: {error}")

    def check(self, model: Path, tolerance: float | None = None) -> list[Check]:
        """Run a file on the same inputs.

        Args:
            model: the file.
            tolerance: instead of 1e-5, and 1e-2 in 16 bits.

        Returns:
            What was compared, and how much it differed.

        Raises:
            ExportError: the outputs differ in shape, dtype or numbers.
        """
        names = [str(each.name) for each in self.flat.inputs]
        runs = [dict(zip(names, inputs, strict=True)) for _, inputs, _ in self.expected]
        return [
            Check(sizes, _difference(self.flat, sizes, ours, theirs, tolerance))
            for (sizes, _, ours), theirs in zip(self.expected, run_model(model, runs), strict=True)
        ]


def _given(examples: Sequence[Sequence[Any]]) -> list[tuple[dict[str, int], list[Any]]]:
    return [({}, [np.asarray(leaf) for leaf in jax.tree.leaves(list(e))]) for e in examples]


def _drawn(flat: FlatFunction) -> list[tuple[dict[str, int], list[Any]]]:
    """Draw inputs for batch 1, an even and an odd one; several open lengths differ from each other."""
    if not flat.symbols:
        return [({}, _inputs(flat, {}, 0))]
    cases = []
    for first, step in ((1, 0), (2, 2), (3, 2)):
        sizes = {name: first + step * i for i, name in enumerate(flat.symbols)}
        cases.append((sizes, _inputs(flat, sizes, first)))
    return cases


def _inputs(flat: FlatFunction, sizes: Mapping[str, int], seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [drawn_array(each, rng) for each in flat.arguments(sizes)[1]]


def drawn_array(spec: Any, rng: np.random.Generator) -> np.ndarray:
    """Draw numbers that suit a dtype: floats about 0, indices small enough for any table of two rows."""
    dtype = jnp.dtype(spec.dtype)
    if dtype == np.bool_:
        return rng.random(spec.shape) < 0.5
    if jnp.issubdtype(dtype, jnp.integer):
        return rng.integers(0, 2, spec.shape).astype(dtype)
    return np.asarray(rng.standard_normal(spec.shape)).astype(dtype)


def _computed(flat: FlatFunction, inputs: Sequence[Any]) -> list[np.ndarray]:
    """Run the function itself, traced anew for these sizes: on a CPU, whose float32 is whole."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        weights = [jax.device_put(np.asarray(each)) for each in flat.weights.values()]
        outputs = jax.jit(lambda w, x: flat.call(w, x))(weights, list(inputs))
    return [np.asarray(each) for each in outputs]


def _difference(
    flat: FlatFunction,
    sizes: Mapping[str, int],
    ours: Sequence[np.ndarray],
    theirs: Sequence[np.ndarray],
    tolerance: float | None,
) -> float:
    if len(ours) != len(theirs):
        raise ExportError(f"ONNX: the file has {len(theirs)} outputs, the function {len(ours)}")
    errors = [0.0]
    for spec, left, right in zip(flat.outputs, ours, theirs, strict=True):
        wrong, error = different(left, right, tolerance)
        if wrong:
            raise ExportError(
                f"ONNX: output {spec.name!r} at {_spelled(sizes)} is not what the function computes: {wrong}. "
                "Nothing was written"
            )
        errors.append(error)
    return max(errors)


def different(
    ours: np.ndarray, theirs: np.ndarray, tolerance: float | None = None
) -> tuple[str, float]:
    """Say how two arrays differ (empty if they agree), and the largest difference relative to the largest number.

    NaN and infinities must be at the same places; whole numbers must be equal.
    """
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"{theirs.dtype}{list(theirs.shape)} instead of {ours.dtype}{list(ours.shape)}", 0.0
    if not jnp.issubdtype(ours.dtype, jnp.inexact):
        count = int(np.sum(ours != theirs))
        return (f"{count} of {ours.size} numbers differ" if count else ""), 0.0
    limit = _TOLERANCES[ours.dtype.itemsize] if tolerance is None else tolerance
    wide = np.float64
    left, right = ours.astype(wide), theirs.astype(wide)
    for what, same in (("NaN", np.isnan), ("infinity", np.isposinf), ("-infinity", np.isneginf)):
        if (same(left) != same(right)).any():
            return f"{what} at other places", float("inf")
    finite = np.isfinite(left)
    if not finite.any():
        return "", 0.0
    largest = float(np.max(np.abs(left[finite])))
    distance = float(np.max(np.abs(left - right)[finite]))
    error = distance / max(largest, float(np.finfo(np.float32).tiny))
    if error > limit:
        return f"off by {error:.1e} of the largest number, more than {limit:g}", error
    return "", error


def _spelled(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items()) or "the given shapes"
