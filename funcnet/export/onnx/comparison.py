"""What a file computes, beside what the function computes: at batch 1, an even and an odd one, or on examples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
        self.expected: list[_Expected] = []
        for sizes, inputs in _given(flat, examples) if examples else _drawn(flat):
            self._add(sizes, inputs)
        if not self.expected:
            raise ExportError(
                "ONNX: nothing could be compared, because the function itself refuses the inputs; give "
                f"examples=[(x, ...), ...]. {self.refused[0]}"
            )

    def _add(self, sizes: dict[str, int], inputs: list[Any]) -> None:
        try:
            self.expected.append(_Expected(self.flat, sizes, inputs))
        except Exception as error:  # whatever the user's function raises
            self.refused.append(f"at {_spelled(sizes)}: {type(error).__name__}: {error}")

    def check(
        self, model: Path, tolerance: float | None = None, *, rounds: bool = False
    ) -> list[Check]:
        """Run a file on the same inputs.

        Args:
            model: the file.
            tolerance: instead of 1e-5, and 1e-2 in 16 bits.
            rounds: whether numbers are rounded to whole ones in it. One on the edge of two may go either way: an
                output may then differ as much as the function's own moves with its inputs and weights.

        Returns:
            What was compared, and how much it differed.

        Raises:
            ExportError: the outputs differ in shape, dtype or numbers.
        """
        runs = [_fed(self.flat, each.inputs) for each in self.expected]
        return [
            Check(ours.sizes, ours.difference(theirs, tolerance, rounds))
            for ours, theirs in zip(self.expected, run_model(model, runs), strict=True)
        ]


def _fed(flat: FlatFunction, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
    """Name inputs, in the dtypes that the file takes: it may have 64 bits where JAX keeps 32."""
    pairs = zip(flat.inputs, inputs, strict=True)
    return {str(each.name): np.asarray(array).astype(each.dtype) for each, array in pairs}


class _Expected:
    """What the function computes on one set of inputs."""

    def __init__(self, flat: FlatFunction, sizes: Mapping[str, int], inputs: Sequence[Any]):
        self.flat, self.sizes, self.inputs = flat, sizes, inputs
        self.outputs = _computed(_compiled(flat), list(flat.weights.values()), inputs)

    @cached_property
    def in_32_bits(self) -> list[np.ndarray] | None:
        """The same numbers computed in float32; None if the function does not take them so.

        A function in 16 bits rounds after every operation, a file that carries them as float32 less often: the
        function itself may be further from the truth than the tolerance.
        """
        try:
            weights = [_widened(each) for each in self.flat.weights.values()]
            inputs = [_widened(each) for each in self.inputs]
            return _computed(_compiled(self.flat), weights, inputs)
        except Exception:  # whatever the user's function raises
            return None

    @cached_property
    def moves(self) -> list[float]:
        """How far each output moves, relative to its largest number, if all that goes in moves by 1e-5 of itself.

        An output without rounding moves about as little; with rounding by the steps of what crosses an edge.
        """
        run, most = _compiled(self.flat), [0.0] * len(self.outputs)
        for seed in range(4):
            rng = np.random.default_rng(seed)
            weights = [_moved(each, rng) for each in self.flat.weights.values()]
            others = _computed(run, weights, [_moved(each, rng) for each in self.inputs])
            found = [different(a, b)[1] for a, b in zip(self.outputs, others, strict=True)]
            most = list(map(max, most, found))
        return most

    def difference(
        self, theirs: Sequence[np.ndarray], tolerance: float | None, rounds: bool = False
    ) -> float:
        """Return the largest difference of all outputs.

        Raises:
            ExportError: an output differs by more than is allowed.
        """
        if len(self.outputs) != len(theirs):
            raise ExportError(
                f"ONNX: the file has {len(theirs)} outputs, the function {len(self.outputs)}"
            )
        errors = [0.0]
        for number, spec in enumerate(self.flat.outputs):
            wrong, error = different(self.outputs[number], theirs[number], tolerance)
            if wrong and self.outputs[number].dtype.itemsize == 2:
                wrong, error = self._wider(number, theirs[number], tolerance) or (wrong, error)
            if wrong and rounds and tolerance is None and np.isfinite(self.moves[number]):
                limit = max(self.moves[number], _limit(self.outputs[number]))
                wrong, error = different(self.outputs[number], theirs[number], limit)
            if wrong:
                raise ExportError(
                    f"ONNX: output {spec.name!r} at {_spelled(self.sizes)} is not what the function computes: "
                    f"{wrong}. Nothing was written"
                )
            errors.append(error)
        return max(errors)

    def _wider(
        self, number: int, theirs: np.ndarray, tolerance: float | None
    ) -> tuple[str, float] | None:
        if self.in_32_bits is None or not jnp.issubdtype(theirs.dtype, jnp.inexact):
            return None
        return different(self.in_32_bits[number].astype(theirs.dtype), theirs, tolerance)


def _given(
    flat: FlatFunction, examples: Sequence[Sequence[Any]]
) -> list[tuple[dict[str, int], list[Any]]]:
    """Read sets of examples; 64 bits are narrowed as JAX does."""
    sets = [list(map(_narrowed, jax.tree.leaves(list(each)))) for each in examples]
    for arrays in sets:
        ours = [f"{jnp.dtype(s.dtype).name} with {len(s.shape)} axes" for s in flat.inputs]
        given = [f"{a.dtype.name} with {a.ndim} axes" for a in arrays]
        if ours != given:
            raise ValueError(
                f"examples are sets of inputs, [(x, ...), ...], each {', '.join(ours)}; got a set of "
                f"{', '.join(given) or 'nothing'}"
            )
    return [({}, arrays) for arrays in sets]


def _narrowed(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    return array.astype(jax.dtypes.canonicalize_dtype(array.dtype))


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


def _compiled(flat: FlatFunction) -> Callable[[Any, Any], Any]:
    """Return the function itself, to be traced anew for the sizes it is given."""
    return jax.jit(lambda w, x: flat.call(w, x))


def _computed(
    run: Callable[[Any, Any], Any], weights: Sequence[Any], inputs: Sequence[Any]
) -> list[np.ndarray]:
    """Run a function on a CPU, whose float32 is whole."""
    with jax.default_device(_cpu()), jax.default_matmul_precision("highest"):
        arrays = [np.asarray(each) for each in weights]
        return [np.asarray(each) for each in run(arrays, list(inputs))]


def _cpu() -> Any:
    """Give JAX's CPU; the default device where JAX was started without."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return None


def _moved(array: Any, rng: np.random.Generator) -> np.ndarray:
    """Move floats by up to the tolerance, each by a part of itself."""
    kept = np.asarray(array)
    if kept.dtype not in (np.float32, np.float64):
        return kept
    return (kept * (1 + _limit(kept) * rng.uniform(-1, 1, kept.shape))).astype(kept.dtype)


def _widened(array: Any) -> np.ndarray:
    is_short = jnp.issubdtype(array.dtype, jnp.floating) and array.dtype.itemsize == 2
    return np.asarray(array).astype(np.float32 if is_short else array.dtype)


def _limit(array: np.ndarray) -> float:
    return _TOLERANCES.get(array.dtype.itemsize, 0.0)


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
    limit = _limit(ours) if tolerance is None else tolerance
    wide = np.float64
    left, right = ours.astype(wide), theirs.astype(wide)
    for what, same in (("NaN", np.isnan), ("infinity", np.isposinf), ("-infinity", np.isneginf)):
        if (same(left) != same(right)).any():
            return f"{what} at other places", float("inf")
    finite = np.isfinite(left)
    if not finite.any():
        return "", 0.0
    largest = float(np.max(np.abs(left[finite])))
    distance = float(np.max(np.abs(left[finite] - right[finite])))
    error = distance / max(largest, float(np.finfo(np.float32).tiny))
    if error > limit:
        return f"off by {error:.1e} of the largest number, more than {limit:g}", error
    return "", error


def _spelled(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} = {size}" for name, size in sizes.items()) or "the given shapes"
