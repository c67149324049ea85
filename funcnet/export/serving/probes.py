"""Inputs made up to try a function, and the comparison of what came out."""

from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np

from funcnet.export.serving.signature import length_of
from funcnet.export.specs import ArraySpec

__all__: list[str] = []


def probe_inputs(specs: Sequence[ArraySpec], sizes: Mapping[str, int]) -> list[np.ndarray]:
    """Draw inputs: normal floats; 0 and 1 of whole numbers, which even a small table of embeddings has."""
    draw = np.random.default_rng(0)
    return [_drawn(draw, each, sizes) for each in specs]


def _drawn(draw: np.random.Generator, spec: ArraySpec, sizes: Mapping[str, int]) -> np.ndarray:
    shape = tuple(length_of(length, sizes) for length in spec.shape)
    if np.dtype(spec.dtype).kind in "biu":
        return draw.integers(0, 2, shape).astype(spec.dtype)
    return draw.normal(size=shape).astype(spec.dtype)


def are_alike(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
    """Tell whether outputs are equal up to the rounding of their dtype."""
    return all(map(_alike, some, others))


def _alike(some: np.ndarray, other: np.ndarray) -> bool:
    if some.dtype.kind in "biu":
        return bool(np.array_equal(some, other))
    epsilon = float(ml_dtypes.finfo(some.dtype).eps)
    wide = np.complex128 if some.dtype.kind == "c" else np.float64
    one, two = some.astype(wide), other.astype(wide)
    finite = np.isfinite(two)
    scale = float(np.abs(two[finite]).max(initial=0.0))
    # sums are taken in another order where there are more rows: some hundred roundings, no more
    return bool(np.allclose(one, two, rtol=0, atol=1000 * epsilon * scale + 1e-30, equal_nan=True))
