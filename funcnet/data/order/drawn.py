"""Independent draws with given probabilities, as an order that is evaluated where it is read."""

from typing import Any

import numpy as np

from funcnet.data.order.permutation import positions_of

__all__ = ["DrawnOrder"]

_BLOCK = (
    1 << 17
)  # draws of one generator: so many that neighbours in order are near in a long table


class DrawnOrder:
    """Indices drawn in proportion to weights, independently of each other.

    Only the blocks of draws that are asked for are made, each with a generator of its own: an epoch
    of millions begins at once.

    Args:
        edges: the sums of the first 1, 2, … weights.
        length: how many are drawn.
        seed: a non-negative integer.
        epoch: likewise; each draws others.

    Example:
        >>> from funcnet.data.order.drawn import DrawnOrder
        >>> DrawnOrder(np.array([0.0, 2.0, 2.0]), 10**9, 0, 0)[5:8]
        array([1, 1, 1])
    """

    def __init__(self, edges: np.ndarray, length: int, seed: int, epoch: int) -> None:
        self.edges = edges
        self.length = length
        self.seed = seed
        self.epoch = epoch
        self._size = min(_BLOCK, length)
        self._last: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, selection: Any) -> Any:
        positions, scalar = positions_of(selection, self.length)
        blocks, places = np.divmod(positions, self._size)
        indices = np.empty(len(positions), np.intp)
        for block in np.unique(blocks).tolist():
            rows = np.flatnonzero(blocks == block)
            indices[rows] = self._block(block)[places[rows]]
        return int(indices[0]) if scalar else indices

    def _block(self, block: int) -> np.ndarray:
        if self._last is None or self._last[0] != block:
            self._last = block, self._draw(block)
        return self._last[1]

    def _draw(self, block: int) -> np.ndarray:
        entropy = np.random.SeedSequence([self.seed, self.epoch, block])
        rng = np.random.Generator(np.random.Philox(entropy))
        # Uniform draws in ascending order, without sorting: their gaps are exponential. Neighbours
        # then look for neighbouring edges, which is far quicker in a long table.
        sums = np.cumsum(rng.standard_exponential(self._size + 1))
        draws = sums[:-1] * (self.edges[-1] / sums[-1])
        # A draw may round to the sum of the weights, which is beyond the last edge.
        draws = np.minimum(draws, np.nextafter(self.edges[-1], 0))
        return rng.permutation(np.searchsorted(self.edges, draws, side="right"))
