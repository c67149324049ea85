"""Draw arrays of any shapes with one program for each distribution.

The random bits of an element are a hash of the key and of its place in the flattened array (JAX's
``threefry2x32``, partitionable). So all arrays are cut into rows of one length, each with its key, its
first place and its scales, and a program draws a fixed number of rows, whatever arrays they are of.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Key
from funcnet.core.jax_internals.random_bits import ROW, key_of_bits
from funcnet.module.initial_values.recipes import FlatDraw

__all__ = ["Draw", "drawn_values", "folded_words", "threefry_words"]

FEW_ROWS, MANY_ROWS = 64, 1024
"""Rows that one run of a program draws: for models that need no more, and for others."""

IN_FLIGHT = 3
"""Runs that are asked for before the first of them is waited for."""

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


@dataclass(frozen=True, eq=False)
class Draw:
    """One array to be drawn: flat, or flat layers on top of each other."""

    recipe: FlatDraw
    dtype: Any
    size: int
    """Of a layer."""
    words: np.ndarray
    """The data of a key for each layer: two words each."""

    @property
    def rows(self) -> int:
        """How many rows a layer needs."""
        return -(-self.size // ROW)


def threefry_words(key: Key) -> np.ndarray | None:
    """Return the two words of a key if its bits are hashes of places, and known now; else None."""
    partitionable: bool = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(key, jax.core.Tracer) or not partitionable:
        return None
    if str(jax.random.key_impl(key)) != "threefry2x32" or len(key.sharding.device_set) > 1:
        return None
    if not jax.sharding.get_abstract_mesh().empty:
        return None
    data = jax.random.key_data(key)
    if isinstance(data, jax.core.Tracer) or data.shape != (2,):
        return None
    return jax.device_get(data)


def folded_words(key_words: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Fold pairs of words into a key as `fold_words` does, without a program.

    >>> from funcnet.core.keys import fold_words
    >>> from funcnet.module.initial_values.flat_draws import folded_words
    >>> key, words = jax.random.key(0), np.array([1, 2], np.uint32)
    >>> folded = folded_words(np.asarray(jax.random.key_data(key)), words[None])[0]
    >>> bool((folded == jax.random.key_data(fold_words(key, words))).all())
    True
    """
    first, second = np.broadcast_to(key_words[:, None], (2, len(words)))
    for data in words.T:
        first, second = threefry(first, second, np.zeros_like(data), data)
    return np.stack([first, second], axis=1)


def threefry(key0: Any, key1: Any, word0: Any, word1: Any) -> tuple[Any, Any]:
    """Hash two words with a key of two words, all arrays of ``uint32`` of NumPy or JAX.

    Reference: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011: Threefry-2x32, 20 rounds.
    """
    keys = (key0, key1, key0 ^ key1 ^ 0x1BD11BDA)
    word0, word1 = word0 + key0, word1 + key1
    for turn in range(5):
        for bits in _ROTATIONS[turn % 2]:
            word0 = word0 + word1
            word1 = word0 ^ ((word1 << bits) | (word1 >> (32 - bits)))
        word0 = word0 + keys[(turn + 1) % 3]
        word1 = word1 + keys[(turn + 2) % 3] + np.uint32(turn + 1)
    return word0, word1


def drawn_values(draws: Sequence[Draw], device: Any = None) -> Iterator[np.ndarray]:
    """Yield the values of draws that all have the same ``sample`` and dtype, one row for each layer.

    Args:
        draws: what to draw; each takes memory only when it is asked for.
        device: where to draw: on another one, the last bits may differ. The default device if None.
    """
    stream = _Stream(_run_rows(draws, device))
    for draw in draws:
        values = np.empty((len(draw.words), draw.size), draw.dtype)
        for layer in values:
            stream.read_into(layer)
        yield values


class _Stream:
    """Values that come in pieces, read layer by layer; a layer begins with a row."""

    def __init__(self, pieces: Iterator[np.ndarray]):
        self.pieces = pieces
        self.rest = np.empty(0)

    def read_into(self, target: np.ndarray) -> None:
        """Fill a flat array, and skip what is left of its last row."""
        done, end = 0, -(-target.size // ROW) * ROW
        while done < end:
            if not self.rest.size:
                self.rest = next(self.pieces)
            values, self.rest = np.split(self.rest, [end - done])
            part = target[done : done + values.size]
            part[:] = values[: part.size]
            done += values.size


def _run_rows(draws: Sequence[Draw], device: Any) -> Iterator[np.ndarray]:
    """Draw the rows of all layers in order, a piece at a time."""
    layers = [draw for draw in draws for _ in draw.words]
    owner = np.repeat(np.arange(len(layers)), [layer.rows for layer in layers])
    if not owner.size:
        return
    size = FEW_ROWS if owner.size <= FEW_ROWS else MANY_ROWS
    keys = np.concatenate([draw.words for draw in draws])
    with np.errstate(over="ignore"):  # a bound too large for float32 is infinite, as JAX has it
        scales = np.array([layer.recipe.scales for layer in layers], np.float32)
    starts = row_starts(owner)
    waiting: list[Array] = []
    for begin in range(0, owner.size, size):
        rows = np.minimum(np.arange(begin, begin + size), owner.size - 1)
        table = keys[owner[rows]], starts[rows], tuple(scales[owner[rows]].T)
        waiting.append(
            _draw_rows(draws[0].recipe.sample, draws[0].dtype, *jax.device_put(table, device))
        )
        if len(waiting) == IN_FLIGHT:
            yield np.ravel(jax.device_get(waiting.pop(0)))
    for values in waiting:
        yield np.ravel(jax.device_get(values))


def row_starts(owner: np.ndarray) -> np.ndarray:
    """Return the place of each row's first number in its array, as two words.

    Args:
        owner: the array that each row belongs to, in order.

    >>> from funcnet.module.initial_values.flat_draws import row_starts
    >>> row_starts(np.array([0, 0, 1])).tolist()
    [[0, 0], [0, 1024], [0, 0]]
    """
    first = np.searchsorted(owner, owner)  # the row with which the owner of each row begins
    places = (np.arange(owner.size) - first).astype(np.uint64) * np.uint64(ROW)
    return np.stack([places >> np.uint64(32), places % np.uint64(2**32)], axis=1).astype(np.uint32)


@partial(jax.jit, static_argnums=(0, 1))
def _draw_rows(
    sample: Any, dtype: Any, keys: Array, starts: Array, scales: tuple[Array, ...]
) -> Array:
    places = starts[:, 1:] + jnp.arange(ROW, dtype=jnp.uint32)[None]
    first, second = threefry(keys[:, :1], keys[:, 1:], starts[:, :1], places)

    def row(bits: Array, *scales: Array) -> Array:
        return sample(key_of_bits(bits), (ROW,), dtype, *scales)

    return jax.vmap(row)(first ^ second, *scales)
