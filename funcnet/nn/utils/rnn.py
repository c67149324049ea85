"""Sequences of unequal length as one padded array, and back: ``torch.nn.utils.rnn``.

Arrays have one shape in a compiled program, so nothing here packs steps closer together. Recurrent layers take the
lengths of what is padded, ``lengths=``, and leave out the rest; what `funcnet.data.pack` puts into one row they keep
apart by ``segment_ids=``, as attention does.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice, check_fill
from funcnet.core.dtypes import widest
from funcnet.core.torch_hints import package_attributes
from funcnet.functional.indices import known_values
from funcnet.functional.sequences.masks import check_lengths

__all__ = ["pad_sequence", "unpad_sequence"]


def pad_sequence(
    sequences: Array | Iterable[ArrayLike],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Array:
    """Put sequences of unequal length into one array, filled up to the longest.

    In a loop over batches prefer `funcnet.data.pad`, which can keep to a few lengths: each new one is compiled anew.

    Args:
        sequences: arrays of shapes ``(L_i, *)`` with equal ``*``; an array is a sequence of its rows.
        batch_first: return ``(N, T, *)`` instead of ``(T, N, *)``.
        padding_value: what fills.
        padding_side: ``"right"``, after the end of a sequence, or ``"left"``, before its beginning.

    Returns:
        An array of the sequences' dtype; of several, one that holds them all.

    Raises:
        ValueError: no sequences, shapes that do not fit, an unknown side, or a padding value that the dtype does not
            hold.
        TypeError: what is no iterable of arrays.

    Example:
        >>> nn.utils.rnn.pad_sequence([jnp.array([1, 2, 3]), jnp.array([4])], batch_first=True).tolist()
        [[1, 2, 3], [4, 0, 0]]

    Reference: ``torch.nn.utils.rnn.pad_sequence``.
    """
    check_choice("padding_side", padding_side, ("right", "left"))
    arrays = _sequence_arrays(sequences)
    dtype = widest(*map(jnp.result_type, arrays))  # in 32 bits, of NumPy's with 64, as JAX has it
    check_fill("padding_value", padding_value, dtype)
    longest = max(array.shape[0] for array in arrays)
    values = [known_values(array) for array in arrays]
    known = [value for value in values if value is not None]
    if len(known) < len(arrays):  # traced: a gradient may be wanted
        rows = [
            _filled_up(array.astype(dtype), longest, padding_value, padding_side)
            for array in arrays
        ]
        return jnp.stack(rows, 0 if batch_first else 1)
    # In NumPy, because each length would be a program of its own.
    padded = np.full((len(known), longest, *known[0].shape[1:]), padding_value, dtype)
    for row, value in zip(padded, known, strict=True):
        row[_part(len(value), longest, padding_side)] = value
    return jnp.asarray(padded if batch_first else padded.swapaxes(0, 1))


def unpad_sequence(padded: Array, lengths: ArrayLike, batch_first: bool = False) -> list[Array]:
    """Cut what `pad_sequence` filled on the right into sequences again.

    Args:
        padded: ``(T, N, *)``, or ``(N, T, *)`` with ``batch_first``.
        lengths: of each sequence, ``(N,)``. They are shapes of what is returned, and so are known: not traced.
        batch_first: where the sequences are.

    Returns:
        A list of arrays ``(lengths[i], *)``.

    Raises:
        ValueError: lengths that do not fit.
        TypeError: lengths that are traced, or no integers.

    Example:
        >>> padded = jnp.array([[1, 2, 3], [4, 0, 0]])
        >>> [x.tolist() for x in nn.utils.rnn.unpad_sequence(padded, [3, 1], batch_first=True)]
        [[1, 2, 3], [4]]

    Reference: ``torch.nn.utils.rnn.unpad_sequence``.
    """
    if np.ndim(padded) < 2:
        raise ValueError(f"padded must have shape (T, N, *) or (N, T, *); got {np.shape(padded)}")
    rows = padded if batch_first else padded.swapaxes(0, 1)
    sizes = _known_lengths(lengths, *rows.shape[:2])
    values = known_values(rows)
    if values is None:
        return [rows[row, :size] for row, size in enumerate(sizes)]
    return [jnp.asarray(values[row, :size]) for row, size in enumerate(sizes)]


def _sequence_arrays(sequences: Any) -> list[Any]:
    if not isinstance(sequences, Iterable):
        raise TypeError(f"pad_sequence takes a list of arrays; got {type(sequences).__name__}")
    arrays = [array if isinstance(array, jax.Array) else np.asarray(array) for array in sequences]
    if not arrays:
        raise ValueError("pad_sequence needs at least one sequence; got none")
    for place, array in enumerate(arrays):
        if array.dtype == object or not array.ndim:
            raise ValueError(
                f"a sequence is an array of shape (L, *); that at {place} is {_described(array)}"
            )
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"sequences may differ in their first axis only; that at 0 has shape {arrays[0].shape}, that at "
                f"{place} has {array.shape}"
            )
    return arrays


def _described(array: Any) -> str:
    return "no array of numbers" if array.dtype == object else f"the number {array}"


def _part(size: int, longest: int, side: str) -> slice:
    return slice(size) if side == "right" else slice(longest - size, longest)


def _filled_up(array: Array, longest: int, value: float, side: str) -> Array:
    rest = longest - array.shape[0]
    widths = (0, rest) if side == "right" else (rest, 0)
    fill = jnp.asarray(value, array.dtype)
    return jnp.pad(array, [widths, *[(0, 0)] * (array.ndim - 1)], constant_values=fill)


def _known_lengths(lengths: ArrayLike, batch: int, time: int) -> Sequence[int]:
    check_lengths(lengths, time)
    values = known_values(lengths)
    if values is None:
        raise TypeError(
            "unpad_sequence returns arrays of as many shapes as there are lengths, and these are traced: a compiled "
            "program does not know them. Leave the array padded, with F.length_mask(lengths, size) for what is "
            "real, or call unpad_sequence outside of jax.jit"
        )
    if values.shape != (batch,):
        raise ValueError(
            f"lengths must have shape {(batch,)}, one for each sequence; got {values.shape}"
        )
    return values.tolist()


if not TYPE_CHECKING:  # a type checker should go on to report names that are missing
    __getattr__, __dir__ = package_attributes(__name__, __all__)
