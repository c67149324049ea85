"""What a served function takes and gives, and which axis requests are joined along."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from funcnet.export.lengths import evaluate_length
from funcnet.export.records import FunctionRecord
from funcnet.export.serving.refusals import Refusal, wrong_input
from funcnet.export.specs import ArraySpec

__all__ = ["FunctionSignature"]


@dataclass(frozen=True)
class FunctionSignature:
    """A function of an artifact, as a server sees it.

    Attributes:
        name: of the function.
        inputs: in order; each has a name.
        outputs: likewise.
        batch: the symbol that is the first length of every input and output, if there is one.
    """

    name: str
    inputs: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]
    batch: str | None

    @classmethod
    def of(cls, name: str, record: FunctionRecord) -> "FunctionSignature":
        """Read it from the manifest."""
        batch = _batch_symbol((*record.inputs, *record.outputs))
        return cls(name, record.inputs, record.outputs, batch)

    def in_order(self, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Put inputs that came by name in order.

        Raises:
            Refusal: one is missing, or has a name that the function does not have.
        """
        names = [str(each.name) for each in self.inputs]
        missing = [name for name in names if name not in arrays]
        unknown = [name for name in arrays if name not in names]
        if missing or unknown:
            found = [f"no {', '.join(missing)}"] if missing else []
            found += [f"unknown {', '.join(sorted(unknown)[:10])}"] if unknown else []
            raise Refusal(
                422,
                f"{self.name} takes the inputs {', '.join(names)}: {' and '.join(found)}",
                expected=names,
                got=sorted(arrays)[:100],
            )
        return [arrays[name] for name in names]

    def sizes(self, arrays: Sequence[np.ndarray]) -> dict[str, int]:
        """Find the lengths that the symbols stand for, and check shapes and dtypes.

        Raises:
            Refusal: an input is not what the function takes.
        """
        found: dict[str, int] = {}
        for expected, array in zip(self.inputs, arrays, strict=True):
            _check_rank(expected, array)
            for length, actual in zip(expected.shape, array.shape, strict=True):
                if isinstance(length, str) and length.isidentifier():
                    found.setdefault(length, actual)
        for expected, array in zip(self.inputs, arrays, strict=True):
            _check_lengths(expected, array, found)
        return found


def _batch_symbol(specs: Sequence[ArraySpec]) -> str | None:
    first = {each.shape[0] if each.shape else None for each in specs}
    (only,) = first if len(first) == 1 else (None,)
    if not isinstance(only, str) or not only.isidentifier():
        return None
    elsewhere = [str(length) for each in specs for length in each.shape[1:]]
    return None if any(only in length for length in elsewhere) else only


def _check_rank(expected: ArraySpec, array: np.ndarray) -> None:
    if array.dtype != expected.dtype or array.ndim != len(expected.shape):
        raise wrong_input(str(expected.name), str(expected), _spelled(array))


def _check_lengths(expected: ArraySpec, array: np.ndarray, sizes: Mapping[str, int]) -> None:
    wanted = tuple(length_of(length, sizes) for length in expected.shape)
    if wanted == array.shape:
        if 0 in array.shape and 0 not in expected.shape:
            raise wrong_input(
                str(expected.name), str(expected), _spelled(array), "send one row at least"
            )
        return
    named = {length for length in expected.shape if isinstance(length, str)}
    known = ", ".join(f"{name} is {sizes[name]}" for name in sorted(named & sizes.keys()))
    raise wrong_input(str(expected.name), str(expected), _spelled(array), known and f"here {known}")


def _spelled(array: np.ndarray) -> str:
    return str(ArraySpec(array.shape, array.dtype))


def length_of(length: int | str, sizes: Mapping[str, int]) -> int:
    """Work out a length, or refuse the inputs that it does not follow from."""
    try:
        return evaluate_length(length, sizes)
    except ValueError as error:
        raise Refusal(422, str(error)) from None
