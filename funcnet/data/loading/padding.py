"""`pad`: samples of unequal length to one batch, filled up, with their lengths and a mask of what is real."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from funcnet.core.checks import check_choice, check_count, check_fill, check_positive
from funcnet.core.trees import fill_tree, named_leaves
from funcnet.data.loading.batch_memory import Allocate, fresh
from funcnet.data.loading.collate import collate
from funcnet.data.loading.containers import is_plain, numpy_leaf, plain_tree, restored_tree

__all__ = ["PaddingCollate", "pad"]


def pad(
    value: float | Mapping[str, float] = 0,
    *,
    length: int | Sequence[int] | None = None,
    multiple_of: int = 1,
    side: str = "right",
    lengths: str | None = "lengths",
    mask: str | None = "mask",
) -> "PaddingCollate":
    """Collate samples of unequal length: fill them up to one, and say in the batch what is real.

    A loader's ``collate=``. Arrays are filled along their first axis; lists of numbers, as tokenizers return, are
    taken as arrays. What is not filled is collated as `data.collate` does.

    Args:
        value: what fills every array of a sample, or for each field (a dotted path, or a pattern such as ``"*_ids"``)
            what fills that one, and no others. The first that fits counts.
        length: to which to fill up, instead of the longest in the batch; or several, of which the smallest that is
            long enough. A program is compiled for each length of its batches, so a few serve better than many.
        multiple_of: instead of ``length``: round the longest up to a multiple of this.
        side: ``"right"``, behind what is real, or ``"left"``, before it, as for generating text.
        lengths: name of the entry for the lengths, int32 ``(N,)``; None leaves it out. All that is filled in one
            sample then has one length. Where fields have lengths of their own, write ``"{}_lengths"``: an entry for
            each, ``{}`` being the field.
        mask: the same for the mask, boolean ``(N, T)``, True for what is real.

    Returns:
        ``collate(samples)``: a dict has two entries more; of anything else it makes ``(…, lengths, mask)``, behind the
        parts of a tuple.

    Raises:
        ValueError: a length that is not positive or goes with ``multiple_of``, an unknown side. When a batch is made,
            naming field and sample: one longer than ``length``, shapes that differ in another axis, lengths that differ
            between fields, a value that the dtype does not hold, no field of that name, or an entry that is there
            already.
        TypeError: lengths that are no whole numbers, or a value that is no number.

    Example:
        >>> samples = [{"tokens": [5, 6, 7], "label": 0}, {"tokens": [8], "label": 1}]
        >>> batch = next(iter(data.DataLoader(samples, 2, collate=data.pad({"tokens": -1}))))
        >>> batch["tokens"].tolist(), batch["lengths"].tolist(), batch["mask"].sum(1).tolist()
        ([[5, 6, 7], [8, -1, -1]], [3, 1], [3, 1])
        >>> data.pad(multiple_of=4)([np.arange(3), np.arange(5)])[0].shape
        (2, 8)

    Reference: ``torch.nn.utils.rnn.pad_sequence``, in PyTorch a part of a ``collate_fn`` of one's own.
    """
    return PaddingCollate(value, length, multiple_of, side, lengths, mask)


class PaddingCollate:
    """What `pad` returns: settings, and a call that makes a batch."""

    def __init__(
        self,
        value: float | Mapping[str, float],
        length: int | Sequence[int] | None,
        multiple_of: int,
        side: str,
        lengths: str | None,
        mask: str | None,
    ) -> None:
        check_choice("side", side, ("right", "left"))
        check_count("multiple_of", multiple_of)
        check_positive("multiple_of", multiple_of)
        self.values = dict(value) if isinstance(value, Mapping) else {"*": value}
        for field, number in self.values.items():
            _check_number(field, number)
        self.named = isinstance(value, Mapping)
        self.sizes = _sizes(length)
        if self.sizes and multiple_of != 1:
            raise ValueError(
                f"length and multiple_of exclude each other; got {length} and {multiple_of}"
            )
        self.multiple_of = multiple_of
        self.side = side
        self.lengths = lengths
        self.mask = mask

    def __call__(self, samples: Sequence[Any], allocate: Allocate = fresh) -> Any:
        """Make a batch of samples.

        Args:
            samples: as `data.collate` takes them.
            allocate: where the batch's memory comes from.
        """
        if not samples:
            raise ValueError("pad needs at least one sample; got none")
        like = samples[0]
        if not all(map(is_plain, samples)):
            samples = [plain_tree(sample) for sample in samples]
        samples = [_with_arrays(sample, self._value_of) for sample in samples]
        rows = [[leaf for _, leaf in named_leaves(sample)] for sample in samples]
        if any(len(row) != len(rows[0]) for row in rows):
            return collate(samples, allocate)  # which says how their structures differ
        columns = {
            name: self._fill(rows, place, name, value)
            for place, (name, value) in self._fields(samples[0]).items()
        }
        made = self._entries({name: found for name, found in columns.items() if found})
        clash = [name for name in made if isinstance(samples[0], dict) and name in samples[0]]
        if clash:
            raise ValueError(
                f"samples have a field {clash[0]!r} already: give the entries other names by lengths= and mask=, "
                "or None"
            )
        # Under the name "" a sample's fields keep their own names in what `collate` says of them.
        whole = [
            {"": fill_tree(sample, iter(row)), **{name: part[k] for name, part in made.items()}}
            for k, (sample, row) in enumerate(zip(samples, rows, strict=True))
        ]
        entries = collate(whole, allocate)
        return _joined(restored_tree(like, entries.pop("")), entries)

    def _value_of(self, name: str) -> tuple[str, float] | None:
        """Find the pattern that a field's name fits, and its value."""
        return next((found for found in self.values.items() if fnmatchcase(name, found[0])), None)

    def _fields(self, sample: Any) -> dict[int, tuple[str, float]]:
        """Find what to fill: leaves by their place, each with its name and value."""
        found: dict[int, tuple[str, float]] = {}
        used: set[str] = set()
        leaves = list(named_leaves(sample))
        for place, (name, leaf) in enumerate(leaves):
            match = self._value_of(name)
            if match is not None and (self.named or _has_an_axis(leaf)):
                used.add(match[0])
                found[place] = name, match[1]
        missing = next((pattern for pattern in self.values if pattern not in used), None)
        if missing is not None:
            what = f"field {missing!r}" if self.named else "array or list of numbers to fill up"
            there = [name for name, _ in named_leaves(_with_arrays(sample, lambda name: True))]
            raise ValueError(f"samples have no {what}; they have {there}")
        return found

    def _fill(
        self, rows: list[list[Any]], place: int, name: str, value: float
    ) -> tuple[list[int], int] | None:
        """Fill up one field of all samples; return its lengths and what they became, None if there is none."""
        if all(row[place] is None for row in rows):
            return None
        arrays = _alike(name, [row[place] for row in rows])
        dtype = np.result_type(*arrays)
        check_fill(f"of {_called(name)}, the value", value, dtype)
        lengths = [len(array) for array in arrays]
        size = self._size(name, lengths)
        for row, array in zip(rows, arrays, strict=True):
            row[place] = np.full((size, *array.shape[1:]), value, dtype)
            row[place][self._real(len(array), size)] = array
        return lengths, size

    def _real(self, length: int, size: int) -> slice:
        return slice(length) if self.side == "right" else slice(size - length, size)

    def _size(self, name: str, lengths: list[int]) -> int:
        """Choose the length to which to fill a field up."""
        longest = max(lengths)
        if not self.sizes:
            return -(-longest // self.multiple_of) * self.multiple_of
        size = next((size for size in self.sizes if size >= longest), None)
        if size is None:
            raise ValueError(
                f"{_called(name)} has length {longest} in sample {lengths.index(longest)}, more than "
                f"length={self.sizes[-1]}: cut it in a transform, or allow more"
            )
        return size

    def _entries(self, columns: dict[str, tuple[list[int], int]]) -> dict[str, list[Any]]:
        """Make each sample's part of the entries: lengths, then masks."""
        made: dict[str, list[Any]] = {}
        for entry, make in ((self.lengths, self._length_entry), (self.mask, self._mask_entry)):
            if entry is not None and "{}" not in entry:
                _check_one_length(columns)
            if entry is not None:
                # without {} all fields have one name, and the same lengths
                made |= {entry.format(name): make(*found) for name, found in columns.items()}
        return made

    def _length_entry(self, lengths: list[int], size: int) -> list[Any]:
        return [np.int32(length) for length in lengths]

    def _mask_entry(self, lengths: list[int], size: int) -> list[Any]:
        masks = np.zeros((len(lengths), size), bool)
        for mask, length in zip(masks, lengths, strict=True):
            mask[self._real(length, size)] = True
        return list(masks)


def _sizes(length: int | Sequence[int] | None) -> tuple[int, ...]:
    """Return the lengths that are allowed, from the smallest on; none if any is."""
    if length is None:
        return ()
    sizes = tuple(length) if isinstance(length, Sequence) else (length,)
    for size in sizes:
        check_count("length", size)
        check_positive("length", size)
    if not sizes:
        raise ValueError("length is a number or several; got an empty sequence")
    return tuple(sorted(sizes))


def _check_number(field: str, value: Any) -> None:
    if isinstance(value, list):
        raise TypeError(
            "data.pad makes a collate, and does not take samples itself: write DataLoader(..., collate=data.pad()), "
            "or data.pad()(samples)"
        )
    if not isinstance(value, _NUMBERS):
        raise TypeError(
            f"data.pad takes the number that fills, or one for each field, data.pad({{'tokens': 0}}); got {value!r}"
            + ("" if field == "*" else f" for {field!r}")
        )


def _with_arrays(tree: Any, wanted: Callable[[str], Any], name: str = "") -> Any:
    """Make arrays of lists of numbers: those whose names are wanted."""
    if isinstance(tree, list) and _holds_numbers(tree):
        return _number_array(tree) if wanted(name) else tree
    if isinstance(tree, dict):
        return {key: _with_arrays(part, wanted, _inside(name, key)) for key, part in tree.items()}
    if isinstance(tree, list | tuple):
        parts = [_with_arrays(part, wanted, _inside(name, k)) for k, part in enumerate(tree)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def _inside(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)


def _called(name: str) -> str:
    return name or "the array"


def _has_an_axis(leaf: Any) -> bool:
    """Say whether a leaf is an array that can be filled up, or None in place of one."""
    if leaf is None:
        return True
    return bool(getattr(leaf, "ndim", 0)) and getattr(leaf.dtype, "kind", "") not in "OSUMm"


def _holds_numbers(values: list[Any]) -> bool:
    """Say whether a list holds nothing but numbers, or lists of numbers."""
    kinds = set(map(type, values))
    if kinds <= _PYTHON_NUMBERS:
        return True
    return all(
        _holds_numbers(value) if isinstance(value, list) else isinstance(value, _NUMBERS)
        for value in values
    )


_PYTHON_NUMBERS = frozenset({bool, int, float, complex})
_NUMBERS = (bool, int, float, complex, np.number, np.bool_)


def _number_array(values: list[Any]) -> Any:
    """Make an array of a list, in the dtypes that `collate` gives to numbers; the list itself if it has no shape."""
    if not values:
        return np.zeros(0, bool)  # which takes the dtype of the others
    try:
        array = np.asarray(values)
    except ValueError:
        return values
    if array.dtype.kind == "i" and array.size and (array < -(2**31)).any() | (array >= 2**31).any():
        return array
    return array.astype(
        {"i": np.int32, "f": np.float32, "c": np.complex64}.get(array.dtype.kind, bool)
    )


def _alike(name: str, column: list[Any]) -> list[np.ndarray]:
    """Return the arrays of a field, all of one shape but for their first axis."""
    for place, value in enumerate(column):
        if not np.ndim(value):
            raise ValueError(
                f"{_called(name)} must be an array or a list of numbers, to be filled up along its first axis; in "
                f"sample {place} it is {value!r}"
            )
    arrays = [numpy_leaf(value, name) for value in column]
    like = next((array for array in arrays if array.shape != (0,)), arrays[0])
    arrays = [np.reshape(a, (0, *like.shape[1:])) if a.shape == (0,) else a for a in arrays]
    for place, array in enumerate(arrays):
        if array.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"{_called(name)} may differ in its first axis only; it has shape {arrays[0].shape} in sample 0 and"
                f" {array.shape} in sample {place}"
            )
    return arrays


def _check_one_length(columns: dict[str, tuple[list[int], int]]) -> None:
    (first, (lengths, _)), *others = columns.items() if columns else [("", ([], 0))]
    for name, (found, _) in others:
        if found != lengths:
            place = next(
                k for k, pair in enumerate(zip(lengths, found, strict=True)) if len({*pair}) > 1
            )
            raise ValueError(
                f"in sample {place} {first} has length {lengths[place]} and {name} has {found[place]}: one entry for "
                'the lengths does not serve both. Write data.pad(lengths="{}_lengths", mask="{}_mask") for an entry of '
                "each, or name what is to be filled up: data.pad({name: value})"
            )


def _joined(batch: Any, entries: dict[str, Any]) -> Any:
    """Put lengths and masks into a batch: as entries of a dict, behind the parts of a tuple."""
    if isinstance(batch, dict):
        return {**batch, **entries}
    return (*batch, *entries.values()) if type(batch) is tuple else (batch, *entries.values())
