"""A function compiled for the numbers of rows that it is served with: after that, nothing compiles."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import ml_dtypes
import numpy as np

from funcnet.export.records import FunctionRecord
from funcnet.export.serving.signature import FunctionSignature, length_of
from funcnet.export.specs import ArraySpec

__all__: list[str] = []

Compiled = Callable[[Sequence[np.ndarray]], list[np.ndarray]]
"""Inputs of one shape in, outputs out."""

_LOG = logging.getLogger("funcnet.export.serving")


class ServedFunction:
    """Run a function on any number of rows by programs of a few numbers of rows.

    Rows are joined and padded only if that changes nothing: `warm` tries it. A function whose rows depend on each
    other (a mean over the batch, say) gets each request alone, as it came.
    """

    def __init__(
        self,
        signature: FunctionSignature,
        compile_for: Callable[[Mapping[str, int]], Compiled],
        batches: Sequence[int],
        keep: int,
    ) -> None:
        self.signature = signature
        self.batches = tuple(sorted(set(batches)))
        self.joins = signature.batch is not None and bool(self.batches)
        self.compilations = 0
        self._compile_for = compile_for
        self._keep = keep
        self._programs: OrderedDict[tuple[tuple[str, int], ...], Compiled] = OrderedDict()
        self._prepared: set[tuple[tuple[str, int], ...]] = set()
        self._lock = threading.Lock()

    @property
    def largest(self) -> int:
        """The most rows of one call."""
        return self.batches[-1] if self.joins else 1

    def warm(self, sizes: Sequence[Mapping[str, int]]) -> None:
        """Compile for each of these sizes and for all numbers of rows, run once, and try whether rows may be joined.

        Args:
            sizes: of the other symbols; one empty mapping where there are none.
        """
        for others in sizes:
            if self.joins and not self._rows_are_apart(others):
                _LOG.warning(
                    "%s: rows of a batch depend on each other, so requests are not joined",
                    self.signature.name,
                )
                self.joins = False
            elif not self.joins:
                self._try_alone(others)
        self._prepared = set(self._programs)

    def _try_alone(self, sizes: Mapping[str, int]) -> None:
        """Run once with sizes that are whole: without one for each symbol, there is nothing to prepare."""
        names = {n for each in self.signature.inputs for n in each.shape if isinstance(n, str)}
        if all(name in sizes for name in names):
            self._call(_probe_inputs(self.signature.inputs, sizes), sizes)

    def _rows_are_apart(self, others: Mapping[str, int]) -> bool:
        """Compare each number of rows with the first rows of the largest, and that with its rows in another order."""
        batch = str(self.signature.batch)
        whole = {**others, batch: self.largest}
        inputs = _probe_inputs(self.signature.inputs, whole)
        outputs = self._call(inputs, whole)
        apart = True
        for rows in self.batches[:-1]:
            first = self._call([each[:rows] for each in inputs], {**others, batch: rows})
            apart &= _are_alike(first, [each[:rows] for each in outputs])
        turned = self._call([each[::-1] for each in inputs], whole)
        apart &= _are_alike(turned, [each[::-1] for each in outputs])
        same = self._call([np.repeat(each[:1], self.largest, 0) for each in inputs], whole)
        return apart and _are_alike([each[:1] for each in same], [each[:1] for each in outputs])

    def run(self, arrays: Sequence[np.ndarray], sizes: Mapping[str, int]) -> list[np.ndarray]:
        """Compute the outputs, by several calls where the rows are more than the largest batch."""
        if not self.joins:
            return self._call(arrays, sizes)
        batch = str(self.signature.batch)
        parts = [
            self._padded([each[start : start + self.largest] for each in arrays], sizes, batch)
            for start in range(0, sizes[batch], self.largest)
        ]
        return (
            parts[0]
            if len(parts) == 1
            else [np.concatenate(each) for each in zip(*parts, strict=True)]
        )

    def _padded(
        self, arrays: Sequence[np.ndarray], sizes: Mapping[str, int], batch: str
    ) -> list[np.ndarray]:
        """Fill up to the next number of rows with copies of the first, and cut the results."""
        rows = len(arrays[0])
        room = next(each for each in self.batches if each >= rows)
        filled = [_filled(each, room) for each in arrays]
        return [each[:rows] for each in self._call(filled, {**sizes, batch: room})]

    def _call(self, arrays: Sequence[np.ndarray], sizes: Mapping[str, int]) -> list[np.ndarray]:
        outputs = self._program(sizes)(arrays)
        for expected, array in zip(self.signature.outputs, outputs, strict=True):
            wanted = tuple(length_of(length, sizes) for length in expected.shape)
            if array.shape != wanted:
                raise RuntimeError(f"{expected.name} came as {array.shape} instead of {wanted}")
        return outputs

    def _program(self, sizes: Mapping[str, int]) -> Compiled:
        key = tuple(sorted(sizes.items()))
        with self._lock:
            if key in self._programs:
                self._programs.move_to_end(key)
                return self._programs[key]
            self.compilations += 1
            made = self._programs[key] = self._compile_for(dict(key))
            extra = [each for each in self._programs if each not in self._prepared]
            for old in extra[: max(0, len(extra) - self._keep)] if self._prepared else ():
                del self._programs[old]
            return made


def _filled(array: np.ndarray, rows: int) -> np.ndarray:
    missing = rows - len(array)
    return np.concatenate([array, np.repeat(array[:1], missing, 0)]) if missing else array


def _probe_inputs(specs: Sequence[ArraySpec], sizes: Mapping[str, int]) -> list[np.ndarray]:
    """Draw inputs: normal floats; 0 and 1 of whole numbers, which even a small table of embeddings has."""
    draw = np.random.default_rng(0)
    return [_drawn(draw, each, sizes) for each in specs]


def _drawn(draw: np.random.Generator, spec: ArraySpec, sizes: Mapping[str, int]) -> np.ndarray:
    shape = tuple(length_of(length, sizes) for length in spec.shape)
    if np.dtype(spec.dtype).kind in "biu":
        return draw.integers(0, 2, shape).astype(spec.dtype)
    return draw.normal(size=shape).astype(spec.dtype)


def _are_alike(some: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> bool:
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


def batches_of(record: FunctionRecord, batch: str | None, asked: Sequence[int] | None) -> list[int]:
    """Choose the numbers of rows to compile for.

    Args:
        record: the function in the manifest.
        batch: the symbol of rows; none: there is nothing to choose.
        asked: what the user wants; None: what there are programs for, and where the length is open, powers of two below
            the largest of them too.
    """
    if batch is None:
        return []
    fixed = {each.sizes[batch] for each in record.programs if each.sizes}
    is_open = any(each.sizes is None for each in record.programs)
    if asked is not None:
        lacking = sorted(set(asked) - fixed)
        if lacking and not is_open:
            raise ValueError(
                f"there is no program for batches of {', '.join(map(str, lacking))}: the artifact has {sorted(fixed)}"
            )
        return sorted(set(asked))
    if not is_open:
        return sorted(fixed)
    largest = max(fixed) if fixed - {1} else 32
    return sorted(fixed | {1 << n for n in range(largest.bit_length())})


def other_sizes(record: FunctionRecord, batch: str | None) -> list[dict[str, int]]:
    """List the sizes of symbols other than the batch that can be prepared: those that there are programs for."""
    if not set(record.symbols) - {batch}:
        return [{}]
    found: list[dict[str, int]] = []
    for each in record.programs:
        others = {name: size for name, size in (each.sizes or {}).items() if name != batch}
        if others and others not in found:
            found.append(others)
    return found
