"""What a file of arrays holds, as a table: names, dtypes, shapes, sizes, totals."""

import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from funcnet.checkpoint.files.formats import open_arrays
from funcnet.checkpoint.files.stored_array import StoredArray
from funcnet.checkpoint.runs.report import describe_path
from funcnet.core.checks import check_positive
from funcnet.core.files import as_path, readable_bytes

__all__ = ["describe_contents"]

_LONGEST_NOTE = 100


def describe_contents(path: str | os.PathLike[str], depth: int | None = None) -> str:
    """Describe the arrays of a file or of a model's folder, or the steps of a run.

    Args:
        path: of a safetensors file, an index of several, a file of ``torch.save``, a folder that holds one of them, or
            a `Checkpointer`'s.
        depth: how many parts of the dotted names to tell apart: with 1, one line for each part of the model.

    Returns:
        A table, then the totals, then the notes in the file's header.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, is cut off, or contradicts itself; or ``depth`` is below 1.

    Example:
        >>> from funcnet.checkpoint.contents import describe_contents
        >>> arrays = {"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.ones(2, np.float16)}
        >>> print(describe_contents(fn.checkpoint.save_arrays("a.safetensors", arrays)))
        array      dtype    shape   numbers  size
        fc.weight  float32  (2, 3)        6  24 B
        fc.bias    float16  (2,)          2   4 B
        2 arrays, 8 numbers, 28 B: 6 float32, 2 float16
    """
    place = as_path(path)
    if depth is not None:
        check_positive("depth", depth)
    if not place.exists():
        raise FileNotFoundError(f"there is no file or folder {place}")
    if place.is_dir() and not _holds_model(place):
        return describe_path(place)
    arrays = open_arrays(place)
    written = getattr(arrays, "metadata", {})
    # that its arrays are PyTorch's says every file that has a header
    notes = [f"  {name}: {_cut(text)}" for name, text in written.items() if name != "format"]
    return "\n".join(
        [_table(arrays, depth), _totals(arrays), *(["notes:", *notes] if notes else [])]
    )


def _holds_model(folder: Path) -> bool:
    """Tell a model's folder from one of checkpoints, whose own description says more."""
    try:
        open_arrays(folder)
    except (ValueError, OSError):
        return False
    return True


def _table(arrays: Mapping[str, StoredArray], depth: int | None) -> str:
    rows = [("array", "dtype", "shape", "numbers", "size")]
    groups: dict[str, list[StoredArray]] = {}
    for name, array in arrays.items():
        groups.setdefault(_beginning(name, depth), []).append(array)
    for name, group in groups.items():
        whole = len(group) == 1 and depth is None
        shape = str(group[0].shape) if whole else f"{len(group)} arrays"
        dtypes = " ".join(dict.fromkeys(str(array.dtype) for array in group))
        numbers = sum(math.prod(array.shape) for array in group)
        rows.append(
            (name, dtypes, shape, f"{numbers:,}", readable_bytes(sum(a.nbytes for a in group)))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if place > 2 else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _beginning(name: str, depth: int | None) -> str:
    parts = name.split(".")
    return name if depth is None or len(parts) <= depth else ".".join([*parts[:depth], "*"])


def _totals(arrays: Mapping[str, StoredArray]) -> str:
    numbers: Counter[str] = Counter()
    for array in arrays.values():
        numbers[str(array.dtype)] += math.prod(array.shape)
    size = readable_bytes(sum(array.nbytes for array in arrays.values()))
    kinds = ", ".join(f"{number:,} {dtype}" for dtype, number in numbers.most_common())
    told = f"{len(arrays)} arrays, {numbers.total():,} numbers, {size}"
    return f"{told}: {kinds}" if kinds else told


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_NOTE else f"{line[:_LONGEST_NOTE]}…"
