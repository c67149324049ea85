"""Independent draws with given probabilities, as an order that is evaluated where it is read."""

from typing import Any

import numpy as np

from funcnet.data.order.permutation import positions_of

__all__ = ["DrawnOrder"]

_BLOCK = 16384  # draws of one generator: enough that what it takes to make one is forgotten


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

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, selection: Any) -> Any:
        positions, scalar = positions_of(selection, self.length)
        blocks, places = np.divmod(positions, _BLOCK)
        indices = np.empty(len(positions), np.intp)
        for block in np.unique(blocks).tolist():
            rows = np.flatnonzero(blocks == block)
            indices[rows] = self._draw(block)[places[rows]]
        return int(indices[0]) if scalar else indices

    def _draw(self, block: int) -> np.ndarray:
        entropy = np.random.SeedSequence([self.seed, self.epoch, block])
        draws = np.random.Generator(np.random.Philox(entropy)).random(_BLOCK)
        # A draw just below 1 times the sum may round to the sum, which is beyond the last edge.
        draws = np.minimum(draws * self.edges[-1], np.nextafter(self.edges[-1], 0))
        # In their order, neighbours look for neighbouring edges: far quicker in a long table.
        ranks = np.argsort(draws)
        found = np.empty(_BLOCK, np.intp)
        found[ranks] = np.searchsorted(self.edges, draws[ranks], side="right")
        return found
