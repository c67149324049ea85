"""PiecedArray: an array that lies in files in one piece or in several, read whole or in part."""

import math
from typing import Any, NamedTuple

import numpy as np

from funcnet.checkpoint.files.stored_array import StoredArray, crc32

__all__ = ["Piece", "PiecedArray"]


class Piece(NamedTuple):
    """A block of an array: where it begins along each axis, and its numbers."""

    begin: tuple[int, ...]
    array: StoredArray


class PiecedArray:
    """An array that is made of blocks, none of them read yet.

    Args:
        name: its dotted name, for messages.
        shape: of the whole.
        pieces: its blocks, which do not overlap; one for an array that was saved whole.

    Raises:
        ValueError: the blocks do not make up the shape.
    """

    def __init__(self, name: str, shape: tuple[int, ...], pieces: list[Piece]) -> None:
        self.name, self.shape, self.pieces = name, shape, pieces
        count = sum(math.prod(piece.array.shape) for piece in pieces)
        alike = len({piece.array.dtype for piece in pieces}) == 1
        if not alike or count != math.prod(shape) or not all(map(self._is_inside, pieces)):
            raise ValueError(f"{name} is damaged: its pieces do not make an array of shape {shape}")
        self.dtype: np.dtype[Any] = pieces[0].array.dtype
        self._sound: set[int] = set()

    @classmethod
    def whole(cls, name: str, array: StoredArray) -> "PiecedArray":
        """Make an array that lies in one piece."""
        return cls(name, array.shape, [Piece((0,) * len(array.shape), array)])

    def _is_inside(self, piece: Piece) -> bool:
        extents = zip(piece.begin, piece.array.shape, self.shape, strict=False)
        return len(piece.begin) == len(piece.array.shape) == len(self.shape) and all(
            begin >= 0 and begin + size <= whole for begin, size, whole in extents
        )

    def read(self) -> np.ndarray:
        """Copy the array into memory of its own.

        Raises:
            ValueError: its bytes are not those that were saved.
        """
        if len(self.pieces) == 1:
            return self.pieces[0].array.read()
        return self.part(tuple(slice(0, size) for size in self.shape))

    def part(self, index: tuple[slice, ...]) -> np.ndarray:
        """Copy a block of the array into memory of its own; pieces that it does not touch are not read.

        Args:
            index: a slice for each axis, of step one.

        Raises:
            ValueError: bytes of a piece that it touches are not those that were saved.
        """
        ranges = [one.indices(size)[:2] for one, size in zip(index, self.shape, strict=True)]
        block = np.zeros([max(end - begin, 0) for begin, end in ranges], self.dtype)
        for piece in self.pieces:
            shared = [
                (max(begin, start), min(end, start + size))
                for (begin, end), start, size in zip(
                    ranges, piece.begin, piece.array.shape, strict=True
                )
            ]
            if all(low < high for low, high in shared):
                target = _slices(shared, [begin for begin, _ in ranges])
                block[target] = self._checked(piece)[_slices(shared, piece.begin)]
        return block

    def _checked(self, piece: Piece) -> np.ndarray:
        """Show a piece's numbers, after having met their checksum once."""
        view = piece.array.view()
        if id(piece.array) not in self._sound:
            checksum = piece.array.checksum
            if checksum is not None and crc32(view) != checksum:
                piece.array.read()  # raises, with the name of what is damaged
            self._sound.add(id(piece.array))
        return view


def _slices(
    ranges: list[tuple[int, int]], origin: list[int] | tuple[int, ...]
) -> tuple[slice, ...]:
    return tuple(
        slice(low - start, high - start) for (low, high), start in zip(ranges, origin, strict=True)
    )
