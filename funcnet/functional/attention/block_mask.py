"""Which blocks of scores hold something: a mask, looked at once, so that the others are left out."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcnet.core.aliases import Array
from funcnet.core.checks import check_count, check_positive
from funcnet.functional.attention.modifiers import noop_mask
from funcnet.functional.attention.positions import (
    MaskMod,
    Positions,
    ScoreMod,
    check_mask,
    check_score,
    joined,
    over_positions,
    parted,
    takes_score,
)

__all__ = ["BlockMask", "create_block_mask", "create_mask"]

BLOCK = 128

FULL, PARTIAL, EMPTY = "█", "░", " "


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False, repr=False)
class BlockMask:
    """A mask and the blocks of queries and keys in which it holds something; `create_block_mask` makes one.

    For each block of queries it lists the blocks of keys in which the mask is True somewhere, and apart from these
    the blocks in which it is True everywhere, for which it need not be computed again. It is a pytree: an argument
    of compiled functions, with the arrays that the mask was written with.

    Args:
        seq_lengths: numbers of queries and of keys.
        kv_num_blocks: how many blocks hold something, but are not full: ``(B, H, blocks of queries)``, integers.
        kv_indices: which they are, ``(B, H, blocks of queries, blocks of keys)``; what follows the first
            ``kv_num_blocks`` means nothing.
        full_kv_num_blocks: how many blocks are full.
        full_kv_indices: which they are.
        BLOCK_SIZE: numbers of queries and of keys of a block.
        mask_mod: the mask within a block that is not full.

    Example:
        >>> mask = F.create_block_mask(F.causal_mask, None, None, 512, 512)
        >>> print(mask)
        BlockMask(shape=(1, 1, 512, 512), sparsity=37.50%,
        (0, 0)
        ░░
        ██░░
        ████░░
        ██████░░
        )

    Reference: ``torch.nn.attention.flex_attention.BlockMask``; Dong et al., Flex Attention, 2024,
    https://arxiv.org/abs/2412.05496.
    """

    seq_lengths: tuple[int, int]
    kv_num_blocks: Array
    kv_indices: Array
    full_kv_num_blocks: Array | None = None
    full_kv_indices: Array | None = None
    BLOCK_SIZE: tuple[int, int] = (BLOCK, BLOCK)
    mask_mod: MaskMod = noop_mask

    @classmethod
    def from_kv_blocks(
        cls,
        kv_num_blocks: Array,
        kv_indices: Array,
        full_kv_num_blocks: Array | None = None,
        full_kv_indices: Array | None = None,
        BLOCK_SIZE: int | tuple[int, int] = BLOCK,
        mask_mod: MaskMod | None = None,
        seq_lengths: tuple[int, int] | None = None,
    ) -> "BlockMask":
        """Make a block mask of lists of blocks; only what is listed takes part.

        Args:
            kv_num_blocks: ``(B, H, blocks of queries)``; both leading axes may be missing, or be 1.
            kv_indices: ``(B, H, blocks of queries, blocks of keys)``.
            full_kv_num_blocks: the same for blocks of which all takes part.
            full_kv_indices: which they are; given with the number of them, or not at all.
            BLOCK_SIZE: queries and keys of a block, one number for both or two.
            mask_mod: the mask within blocks that are not full; none by default.
            seq_lengths: numbers of queries and keys; whole blocks by default.

        Raises:
            ValueError: shapes that do not fit.
            TypeError: a mask that is none.
        """
        size = _block_size(BLOCK_SIZE)
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise ValueError("give both full_kv_num_blocks and full_kv_indices, or neither")
        given: Any = (kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices)
        lists: Any = [None if x is None else jnp.asarray(x, jnp.int32) for x in given]
        for numbers, indices in (lists[:2], lists[2:]):
            if numbers is not None and (indices.ndim < 2 or numbers.shape != indices.shape[:-1]):
                raise ValueError(
                    "numbers of blocks are (..., blocks of queries), indices (..., blocks of queries, "
                    f"blocks of keys); got {numbers.shape} and {indices.shape}"
                )
        if mask_mod is not None:
            check_mask(mask_mod)
        blocks = lists[1].shape[-2:]
        lengths = tuple(n * s for n, s in zip(blocks, size, strict=True))
        lengths: Any = lengths if seq_lengths is None else tuple(seq_lengths)
        if tuple(-(-n // s) for n, s in zip(lengths, size, strict=True)) != blocks:
            raise ValueError(
                f"kv_indices {lists[1].shape} lists {blocks[0]} x {blocks[1]} blocks of {size}, which "
                f"lengths {lengths} have not"
            )
        return _made(lengths, lists, size, noop_mask if mask_mod is None else mask_mod)

    @property
    def shape(self) -> tuple[int, ...]:
        """Examples, heads, queries, keys: what the mask would be if it were written out."""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def numel(self) -> int:
        """Return how many elements the mask would have."""
        return int(np.prod(self.shape))

    def sparsity(self) -> float:
        """Return how many percent of the scores lie in blocks that are left out."""
        listed = self.kv_num_blocks.sum()
        if self.full_kv_num_blocks is not None:
            listed = listed + self.full_kv_num_blocks.sum()
        size = self.BLOCK_SIZE[0] * self.BLOCK_SIZE[1]
        return 100 * (1 - int(listed) * size / max(1, self.numel()))

    def to_dense(self) -> Array:
        """Return 1 for each block that holds something and 0 for others, ``(B, H, blocks, blocks)``, int32."""
        partial, full = self.block_kinds()
        return (partial | full).astype(jnp.int32)

    def block_kinds(self) -> tuple[Any, Any]:
        """Return which blocks are partly full, and which full: NumPy's booleans where that is known while tracing."""
        partial = _listed(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_num_blocks is None:
            return partial, partial & False
        return partial, _listed(self.full_kv_num_blocks, self.full_kv_indices)

    def _lists(self) -> list[Any]:
        return [self.kv_num_blocks, self.kv_indices, self.full_kv_num_blocks, self.full_kv_indices]

    def __getitem__(self, index: Any) -> "BlockMask":
        """Choose examples, or examples and heads; a number keeps its axis."""
        index = index if isinstance(index, tuple) else (index,)
        sizes = self.kv_num_blocks.shape[:-1]
        if len(index) > len(sizes):
            raise IndexError(
                f"a block mask of shape {self.shape} is indexed by example and head only; for some of the "
                "queries, make another one, whose mask adds where they begin to q_idx"
            )
        lists = self._lists()
        chosen: list[Array | None] = []
        for axis, (which, size) in enumerate(zip(index, sizes, strict=False)):
            places = jnp.atleast_1d(jnp.arange(size, dtype=jnp.int32)[which])
            lists = [None if x is None else jnp.take(x, places, axis) for x in lists]
            chosen.append(places if size > 1 else None)
        batch, head = (*chosen, None, None)[:2]
        whole = self.mask_mod

        def mask_mod(b: Array, h: Array, q_idx: Array, kv_idx: Array) -> Any:
            b = b if batch is None else batch[b]
            return whole(b, h if head is None else head[h], q_idx, kv_idx)

        return _made(self.seq_lengths, lists, self.BLOCK_SIZE, mask_mod)

    def to_string(self, grid_size: int | tuple[int, int] = (20, 20), limit: int = 4) -> str:
        """Draw the blocks: full, partly full, or empty.

        Args:
            grid_size: most rows and columns of the picture; -1 shows every block.
            limit: how many examples and heads to draw at most.
        """
        dense = np.asarray(self.to_dense(), float)
        partial = np.asarray(self.block_kinds()[0])
        pictures = []
        for number, at in enumerate(np.ndindex(dense.shape[:-2])):
            if number == limit:
                pictures.append(
                    "...\nto_string(limit=...) draws more; block_mask[b, h] is one of them"
                )
                break
            pictures.append(f"{at}\n{_picture(dense[at], partial[at], grid_size)}")
        return "\n".join(pictures)

    def __str__(self) -> str:
        if self._is_traced():
            return repr(self)
        return (
            f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%,\n{self.to_string()}\n)"
        )

    def __repr__(self) -> str:
        name = getattr(self.mask_mod, "__name__", repr(self.mask_mod))
        sparsity = "" if self._is_traced() else f", sparsity={self.sparsity():.2f}%"
        return f"BlockMask(shape={self.shape}, BLOCK_SIZE={self.BLOCK_SIZE}{sparsity}, mask_mod={name})"

    def _is_traced(self) -> bool:
        return not isinstance(self.block_kinds()[0], np.ndarray)

    def tree_flatten(self) -> tuple[Any, Any]:
        """Give JAX the arrays, those that the mask was written with among them."""
        arrays, rest = parted(self.mask_mod)
        return (*self._lists(), arrays), (self.seq_lengths, self.BLOCK_SIZE, rest)

    @classmethod
    def tree_unflatten(cls, settings: Any, children: Any) -> "BlockMask":
        """Put it together again."""
        lengths, size, rest = settings
        *lists, arrays = children
        return _made(lengths, lists, size, joined(arrays, rest))


def _made(lengths: Any, lists: Any, size: tuple[int, int], mask_mod: MaskMod) -> BlockMask:
    numbers, indices, full_numbers, full_indices = lists
    return BlockMask(lengths, numbers, indices, full_numbers, full_indices, size, mask_mod)


def create_mask(
    mod_fn: ScoreMod | MaskMod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int
) -> Array:
    """Write a mask out.

    Args:
        mod_fn: ``mask_mod(b, h, q_idx, kv_idx)``; or a ``score_mod``, which is a mask where it makes minus infinity
            of a score of zero.
        B: number of examples; None if the mask is the same for all.
        H: number of heads; None if it is the same for all.
        Q_LEN: number of queries.
        KV_LEN: number of keys.

    Returns:
        Booleans of shape ``(B or 1, H or 1, Q_LEN, KV_LEN)``.

    Raises:
        TypeError: a function of other arguments or results.

    Example:
        >>> F.create_mask(F.causal_mask, None, None, 2, 3)[0, 0].astype(int)
        Array([[1, 0, 0],
               [1, 1, 0]], dtype=int32)

    Reference: ``torch.nn.attention.flex_attention.create_mask``.
    """
    sizes = _sizes(B, H, Q_LEN, KV_LEN)
    batch, heads, rows, columns = (jnp.arange(n, dtype=jnp.int32) for n in sizes)
    at = Positions(batch, heads, rows[None, None], columns[None, None])
    if takes_score(mod_fn):
        check_score(mod_fn, sizes)
        return over_positions(mod_fn, at, jnp.zeros(sizes)) != -jnp.inf
    check_mask(mod_fn, sizes)
    return over_positions(mod_fn, at)


def create_block_mask(
    mask_mod: MaskMod,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    BLOCK_SIZE: int | tuple[int, int] = BLOCK,
    *,
    separate_full_blocks: bool = True,
) -> BlockMask:
    """Look at a mask, and list the blocks in which it holds something.

    Made outside of compiled functions, its lists are known when these are compiled, and what is empty is not compiled
    at all. Made inside, of arrays that change from call to call such as segment ids, the blocks are counted as the
    program runs.

    Args:
        mask_mod: ``mask_mod(b, h, q_idx, kv_idx)``: True where a query may attend to a key. It is written for one
            query and one key, with ``jnp``; arrays from around it may be indexed.
        B: number of examples; None if the mask is the same for all.
        H: number of heads; None if it is the same for all.
        Q_LEN: number of queries.
        KV_LEN: number of keys.
        BLOCK_SIZE: queries and keys of a block, one number for both or two.
        separate_full_blocks: list apart the blocks in which the mask is True everywhere.

    Raises:
        TypeError: a function of other arguments or results.
        ValueError: a size below one.

    Example:
        >>> mask = F.create_block_mask(F.sliding_window_mask(128), None, None, 1024, 1024)
        >>> mask.kv_num_blocks[0, 0].tolist(), mask.sparsity()
        ([1, 2, 2, 2, 2, 2, 2, 2], 76.5625)

    Reference: ``torch.nn.attention.flex_attention.create_block_mask``.
    """
    sizes, block = _sizes(B, H, Q_LEN, KV_LEN), _block_size(BLOCK_SIZE)
    check_mask(mask_mod, sizes)
    some, all_ = jax.jit(lambda: _kinds(mask_mod, sizes, block))()
    partial, full = (some & ~all_, all_) if separate_full_blocks else (some, None)
    lists = *_ordered(partial), *((None, None) if full is None else _ordered(full))
    return _made(sizes[2:], lists, block, mask_mod)


def _kinds(
    mask_mod: MaskMod, sizes: tuple[int, ...], block: tuple[int, int]
) -> tuple[Array, Array]:
    """Return in which blocks a mask is True somewhere, and in which everywhere; a block row after another."""
    batch, heads, queries, keys = sizes
    rows, columns = block
    count, across = -(-queries // rows), -(-keys // columns)
    examples, every_head = (jnp.arange(n, dtype=jnp.int32) for n in (batch, heads))
    key = jnp.arange(across * columns, dtype=jnp.int32)

    def row(first: Array) -> tuple[Array, Array]:
        query = first + jnp.arange(rows, dtype=jnp.int32)
        inside = (query < queries)[:, None] & (key < keys)
        at = Positions(
            examples,
            every_head,
            jnp.minimum(query, queries - 1)[None, None],
            jnp.minimum(key, keys - 1)[None, None],
        )
        mask = (over_positions(mask_mod, at) & inside).reshape(batch, heads, rows, across, columns)
        return mask.any((2, 4)), mask.all((2, 4))

    firsts = rows * jnp.arange(count, dtype=jnp.int32)
    some, every = jax.lax.map(row, firsts)
    return jnp.moveaxis(some, 0, 2), jnp.moveaxis(every, 0, 2)


def _ordered(blocks: Array) -> tuple[Array, Array]:
    """List which are True in each row: how many, and their numbers before those of the others."""
    numbers = blocks.sum(-1, dtype=jnp.int32)
    return numbers, jnp.argsort(~blocks, axis=-1, stable=True).astype(jnp.int32)


def _listed(numbers: Any, indices: Any) -> Any:
    """Turn lists back into booleans, in NumPy where they are known."""
    arrays = numbers, indices
    if any(isinstance(x, Tracer) for x in arrays):
        counts = jnp.arange(indices.shape[-1], dtype=jnp.int32) < numbers[..., None]
        rows = jnp.arange(indices.shape[-1], dtype=jnp.int32)
        return ((indices[..., None] == rows) & counts[..., None]).any(-2)
    numbers, indices = (np.asarray(x) for x in arrays)
    found = np.zeros(indices.shape, bool)
    counts = np.arange(indices.shape[-1]) < numbers[..., None]
    at = np.nonzero(counts)
    found[(*at[:-1], indices[at])] = True
    return found


def _picture(dense: Any, partial: Any, grid_size: int | tuple[int, int]) -> str:
    rows, columns = dense.shape
    most = (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
    down, right = (
        1 if limit < 0 else max(1, -(-size // max(1, limit)))
        for size, limit in zip((rows, columns), most, strict=True)
    )
    full = dense * ~partial

    def sign(row: int, column: int) -> str:
        at = slice(row, row + down), slice(column, column + right)
        return 2 * (FULL if full[at].all() else PARTIAL if dense[at].any() else EMPTY)

    lines = ["".join(sign(r, c) for c in range(0, columns, right)) for r in range(0, rows, down)]
    return "\n".join(line.rstrip() for line in lines)


def _sizes(B: Any, H: Any, Q_LEN: Any, KV_LEN: Any) -> tuple[int, int, int, int]:
    sizes = {
        "B": 1 if B is None else B,
        "H": 1 if H is None else H,
        "Q_LEN": Q_LEN,
        "KV_LEN": KV_LEN,
    }
    for name, size in sizes.items():
        check_count(name, size)
        check_positive(name, size)
    batch, heads, queries, keys = (int(size) for size in sizes.values())
    return batch, heads, queries, keys


def _block_size(size: Any) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2:
        raise ValueError(f"BLOCK_SIZE is one number, or two: of queries and of keys; got {size!r}")
    for number in pair:
        check_count("BLOCK_SIZE", number)
        check_positive("BLOCK_SIZE", number)
    return int(pair[0]), int(pair[1])
