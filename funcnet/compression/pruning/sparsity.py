"""How much of a model is zero: a table by path."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import ArrayLike, PyTree
from funcnet.core.files import readable_bytes
from funcnet.core.leaf_kinds import check_holds_arrays, is_trainable
from funcnet.core.paths import leaves_with_paths, select
from funcnet.module.summaries.text_table import html_table, text_table

__all__ = ["Sparsity", "SparsityRow", "sparsity"]


@dataclass(frozen=True)
class SparsityRow:
    """One array.

    Attributes:
        path: dotted.
        shape: of the array.
        zeros: how many of its numbers are zero.
        bytes: which it takes, zeros and all.

    Example:
        >>> row = fn.compression.sparsity({"weight": jnp.array([[0.0, 2.0]])}).rows[0]
        >>> row.path, row.shape, row.zeros, row.bytes
        ('weight', (1, 2), 1, 8)
    """

    path: str
    shape: tuple[int, ...]
    zeros: int
    bytes: int

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    @property
    def share(self) -> float:
        """The share of zeros; 0 for an empty array."""
        return self.zeros / max(self.count, 1)


@dataclass(frozen=True)
class Sparsity:
    """A table of zeros: text when printed, HTML in a notebook.

    Attributes:
        rows: one for each array, in JAX's order of leaves.

    Example:
        >>> table = fn.compression.sparsity({"weight": jnp.array([[0.0, 2.0]]), "bias": jnp.ones(1)})
        >>> [(row.path, row.zeros) for row in table.rows]
        [('bias', 0), ('weight', 1)]
    """

    rows: tuple[SparsityRow, ...]

    @property
    def count(self) -> int:
        """The numbers of all arrays."""
        return sum(row.count for row in self.rows)

    @property
    def zeros(self) -> int:
        """The zeros among them."""
        return sum(row.zeros for row in self.rows)

    @property
    def share(self) -> float:
        """The share of zeros of all."""
        return self.zeros / max(self.count, 1)

    @property
    def bytes(self) -> int:
        """What all arrays take."""
        return sum(row.bytes for row in self.rows)

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                row.path,
                str(row.shape),
                f"{row.count:,}",
                f"{row.zeros:,}",
                f"{row.share:.1%}",
                readable_bytes(row.bytes),
            )
            for row in self.rows
        ]

    @property
    def _total(self) -> str:
        return f"{self.zeros:,} of {self.count:,} are zero, {self.share:.1%}; {readable_bytes(self.bytes)} dense"

    def __str__(self) -> str:
        """Lay the table out as text."""
        return f"{text_table(_HEADS, self._cells(), _HEADS[2:])}\n{self._total}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(_HEADS, self._cells(), self._total)


_HEADS = ("array", "shape", "numbers", "zeros", "share", "bytes")


def sparsity(params: PyTree, patterns: str | Iterable[str] = "*") -> Sparsity:
    """Count the zeros of parameters, or what masks leave out, array by array.

    Args:
        params: any tree of arrays; or of masks, whose zeros are what they mask.
        patterns: globs on dotted paths.

    Returns:
        A table that prints itself, with ``rows``, ``share``, ``zeros``, ``count`` and ``bytes``.

    Raises:
        ValueError: a pattern matches no array.

    Example:
        >>> print(fn.compression.sparsity({"weight": jnp.array([[0.0, 2.0]]), "bias": jnp.ones(1)}))
        array   shape   numbers  zeros  share  bytes
        ────────────────────────────────────────────
        bias    (1,)          1      0   0.0%    4 B
        weight  (1, 2)        2      1  50.0%    8 B
        ────────────────────────────────────────────
        1 of 3 are zero, 33.3%; 12 B dense
    """
    check_holds_arrays("sparsity", params)
    found = {
        path: leaf
        for path, leaf in leaves_with_paths(params)
        if is_trainable(leaf) or jnp.result_type(leaf) == jnp.dtype(bool)
    }
    names = select(patterns, found)
    return Sparsity(tuple(_row(path, leaf) for path, leaf in found.items() if path in names))


def _row(path: str, leaf: ArrayLike) -> SparsityRow:
    shape, dtype = np.shape(leaf), jnp.result_type(leaf)
    zeros = math.prod(shape) - int(jnp.count_nonzero(jnp.asarray(leaf)))
    return SparsityRow(path, tuple(shape), zeros, math.prod(shape) * dtype.itemsize)
