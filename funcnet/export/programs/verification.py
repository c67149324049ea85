"""Inputs at which a function is compared with what was made of it, and how its outputs are compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import PyTree
from funcnet.core.errors import ExportError
from funcnet.export.flat import FlatFunction, structs
from funcnet.export.specs import ArraySpec

__all__ = ["InputSampler", "compare_outputs", "run_at_sizes", "sizes_to_compare"]

_ODD, _EVEN = 3, 2
_FURTHER = (16, 64, 256)
"""What is added to lengths at which a function cannot be called, such as a time shorter than a kernel; parity stays."""

_TOLERANCES = {"float64": 1e-10, "complex64": 1e-5, "float32": 1e-5, "float16": 2e-3}
"""Relative to the largest output: both sides are compiled for themselves, so that sums run in another order."""

_NARROW = 1e-2
"""Of bfloat16, which keeps eight bits, and of what is narrower."""

Sizes = Mapping[str, int]


def sizes_to_compare(symbols: Sequence[str], all_sizes: Sequence[Sizes | None]) -> list[Sizes]:
    """List the sizes at which a function is compared: its own, all 1, and an odd and an even one for each symbol.

    >>> from funcnet.export.programs.verification import sizes_to_compare
    >>> sizes_to_compare(["batch"], [None, {"batch": 1}, {"batch": 32}])
    [{'batch': 1}, {'batch': 32}, {'batch': 3}]
    """
    if not symbols:
        return [{}]
    made = [dict(each) for each in all_sizes if each is not None]
    if None in all_sizes:
        made.append(dict.fromkeys(symbols, 1))
        for parity, first in ((1, _ODD), (0, _EVEN)):
            if not any(all(n % 2 == parity and n > 1 for n in each.values()) for each in made):
                made.append({name: first + 2 * i for i, name in enumerate(symbols)})
    return [each for i, each in enumerate(made) if each not in made[:i]]


class InputSampler:
    """Inputs to compare at: random numbers that suit the dtypes, or a user's own, cut and repeated to any length.

    Args:
        specs: of the arrays.
        examples: one array for each; without them, integers are 0 and 1, which any table of embeddings has.
    """

    def __init__(self, specs: Sequence[ArraySpec], examples: Sequence[Any] | None = None) -> None:
        self._specs = specs
        self._examples = None if examples is None else list(map(np.asarray, examples))

    def draw(self, sizes: Sizes, seed: int = 0) -> list[Any]:
        """Draw arrays, at a number for each symbol."""
        rng = np.random.default_rng(seed)
        shapes = [each.shape for each in structs(self._specs, sizes)]
        if self._examples is None:
            made = [
                _random(rng, s, each.dtype) for s, each in zip(shapes, self._specs, strict=True)
            ]
        else:
            made = [_cut(a, shape) for a, shape in zip(self._examples, shapes, strict=True)]
        return [jnp.asarray(a, each.dtype) for a, each in zip(made, self._specs, strict=True)]


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    if jnp.issubdtype(dtype, jnp.inexact):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _cut(example: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    for axis, length in enumerate(shape):
        example = np.take(example, np.arange(length) % example.shape[axis], axis)
    return example


def run_at_sizes(
    flat: FlatFunction, sampler: InputSampler, sizes: Sequence[Sizes], fixed: Sequence[Sizes | None]
) -> Iterator[tuple[Sizes, list[Any], list[Any]]]:
    """Run a function itself at each size.

    A size that was not asked for, at which the function cannot be called, gives way to a greater one.

    Returns:
        ``(sizes, inputs, outputs)`` each time.
    """
    live = jax.jit(flat.call)
    weights = list(flat.weights.values())
    for each in sizes:
        tries = [each] if each in fixed or not each else _greater(each)
        yield _first_possible(live, weights, sampler, tries)


def _greater(sizes: Sizes) -> list[Sizes]:
    """List these sizes, and greater ones: first of all symbols but the first, which is the batch as a rule."""
    first = next(iter(sizes))
    kept = [{k: n + (more if k != first else 0) for k, n in sizes.items()} for more in _FURTHER]
    moved = [{k: n + more for k, n in sizes.items()} for more in _FURTHER]
    return [sizes, *(kept if len(sizes) > 1 else []), *moved]


def _first_possible(
    live: Callable[..., list[Any]],
    weights: list[Any],
    sampler: InputSampler,
    tries: Sequence[Sizes],
) -> tuple[Sizes, list[Any], list[Any]]:
    """Run at the first of some sizes at which the function can be called."""
    failure: Exception | None = None
    for sizes in tries:
        try:
            inputs = sampler.draw(sizes)
            return sizes, inputs, live(weights, inputs)
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            failure = failure or error
            if not sizes:
                raise
    raise ExportError(
        f"the function cannot be called at {dict(tries[0])}: {str(failure).strip().splitlines()[0]}. A length that is "
        "left open may be any number: one that must be even is written '2*half', one of at least three 'more + 2'"
    ) from failure


def compare_outputs(
    what: str,
    names: Sequence[str],
    got: Sequence[Any],
    expected: Sequence[Any],
    together: bool = False,
) -> None:
    """Hold what a program computed to what the function itself does.

    Args:
        what: was run, and where.
        names: of the outputs.
        got: by the program.
        expected: by the function.
        together: whether differences are measured by the largest number of all outputs, as for gradients, of which
            one may vanish but for rounding.

    Raises:
        ExportError: they differ.
    """
    made = [_comparable(each) for each in expected]
    largest = [_largest(each) for each in made]
    if together:
        largest = [max(largest, default=0.0)] * len(made)
    for name, one, other, other_array, scale in zip(
        names, got, made, expected, largest, strict=True
    ):
        same_kind = (one.dtype, one.shape) == (other_array.dtype, other_array.shape)
        difference = _difference(_comparable(one), other) if same_kind else np.inf
        tolerance = _TOLERANCES.get(str(one.dtype), _NARROW)
        if not jnp.issubdtype(one.dtype, jnp.inexact):
            tolerance = 0.0
        if not difference <= tolerance * (scale or 1.0):
            told = f"differs by {difference:.3g} where the largest number is {scale:.3g}"
            if not same_kind:
                told = (
                    f"is {one.dtype}{list(one.shape)} instead of {other.dtype}{list(other.shape)}"
                )
            raise ExportError(
                f"{what} computes something else than the function itself: {name} {told}"
            )


def _comparable(array: PyTree) -> np.ndarray:
    value = np.asarray(array)
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        return value.astype(np.complex128)
    return value.astype(np.float64) if jnp.issubdtype(value.dtype, jnp.floating) else value


def _largest(value: np.ndarray) -> float:
    finite = np.abs(value[np.isfinite(value)])
    return float(finite.max()) if finite.size else 0.0


def _is_nan(value: np.ndarray) -> Any:
    return np.isnan(value) if np.issubdtype(value.dtype, np.inexact) else False


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Find the greatest difference; infinities and NaN must stand at the same places."""
    if one.dtype == np.bool_:
        one, other = one.astype(np.int8), other.astype(np.int8)
    same = (one == other) | (_is_nan(one) & _is_nan(other))
    if same.all():
        return 0.0
    rest = np.abs(one[~same].astype(np.complex128) - other[~same].astype(np.complex128))
    return float(rest.max()) if np.isfinite(rest).all() else np.inf
