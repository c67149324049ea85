"""Arrays that lie in several files, with an index that tells which: Hugging Face's sharded checkpoints.

``model.safetensors.index.json`` maps names to the files beside it, ``model-00001-of-00003.safetensors`` and so on.
An index of ours tells in its metadata the sums of itself and of each shard, so that shards of two savings are never
taken for one.

Reference: https://huggingface.co/docs/transformers/big_models
"""

import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.checkpoint.files.safetensors_file import (
    CHECKSUMS,
    SafetensorsFile,
    check_named_arrays,
    checksum_of,
    damaged,
    write_into,
)
from funcnet.checkpoint.files.stored_array import StoredArray
from funcnet.core.files import replacing
from funcnet.core.safetensors_format import strict_json

__all__ = ["IndexFile", "shard_paths", "write_shards"]

_SUFFIX = ".safetensors"

_LONGEST = 100_000_000
"""Of an index, in bytes, like the header of a safetensors file."""

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}  # fmt: skip


class IndexFile(Mapping[str, StoredArray]):
    """The arrays of several files as those of one, none of them read yet.

    Arrays of the shards that the index does not list are there too, as they are for other readers of shards.

    Args:
        path: of the index.
        open_shard: what opens one of its files.

    Attributes:
        metadata: what the index says beside its map, and what its shards say, as text.

    Raises:
        ValueError: it is no index, or is damaged; a shard lies outside of its folder, is missing, or lacks arrays. All
            that is missing is listed.
    """

    def __init__(self, path: Path, open_shard: Callable[[Path], Mapping[str, StoredArray]]) -> None:
        places, notes = _read_index(path)
        sums = checksum_of(notes, path)
        files = list(dict.fromkeys(places.values()))
        for file in files:
            _check_inside(path, file)
        absent = [file for file in files if not os.path.isfile(os.path.join(path.parent, file))]
        if absent:
            raise ValueError(f"{path} is not whole: these files are missing: {', '.join(absent)}")
        shards = {file: open_shard(path.parent / file) for file in files}
        _check_sums(path, sums, places, notes, shards)
        self._shards = {name: shards[file] for name, file in _all_places(path, places, shards)}
        self.metadata: dict[str, str] = {}
        for shard in shards.values():
            self.metadata |= getattr(shard, "metadata", {})
        self.metadata |= {
            name: note if isinstance(note, str) else json.dumps(note)
            for name, note in notes.items()
        }

    def __getitem__(self, name: str) -> StoredArray:
        return self._shards[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shards)

    def __len__(self) -> int:
        return len(self._shards)

    def __contains__(self, name: object) -> bool:
        return name in self._shards


# ---- reading -------------------------------------------------------------------------------------


def _read_index(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Return an index's map of names to files, and its metadata."""
    try:
        if path.stat().st_size > _LONGEST:
            raise ValueError(f"it is longer than {_LONGEST:,} bytes")
        index = strict_json(path.read_bytes())
        if not isinstance(index, dict) or "weight_map" not in index:
            raise ValueError("it has no weight_map")
        places, notes = index["weight_map"], index.get("metadata") or {}
        if not isinstance(places, dict) or not all(isinstance(f, str) for f in places.values()):
            raise ValueError("its weight_map is not text by name")
        if not isinstance(notes, dict):
            raise ValueError("its metadata is not a JSON object")
        "".join([*places, *places.values(), *notes]).encode()
    except ValueError as error:
        raise ValueError(f"{path} is no index of shards: {error}") from None
    for key in index:
        if len(key) == len("metadata") and sum(map(str.__ne__, key, "metadata")) == 1:
            raise damaged(path, f"the name {key!r} in it is")
    return places, notes


def _check_inside(path: Path, file: str) -> None:
    """Refuse names that lead out of the folder. A link there may point anywhere, as in the cache of Hugging Face."""
    parts = file.split("/")
    if not file or ".." in parts or "" in parts or any(c in file for c in "\\:\0"):
        raise ValueError(f"{path} is refused: its file {file[:100]!r} lies outside of its folder")


def _all_places(
    path: Path, places: dict[str, str], shards: Mapping[str, Mapping[str, StoredArray]]
) -> Iterator[tuple[str, str]]:
    lacking = [f"{name} in {file}" for name, file in places.items() if name not in shards[file]]
    more = [(name, file) for file, shard in shards.items() for name in shard if name not in places]
    twice = [name for name, count in Counter(name for name, _ in more).items() if count > 1]
    if lacking or twice:
        raise ValueError(
            "\n".join(
                [
                    f"{path} does not fit its files",
                    *([f"  missing: {', '.join(lacking)}"] if lacking else []),
                    *([f"  not listed, and in several: {', '.join(twice)}"] if twice else []),
                ]
            )
        )
    yield from places.items()
    yield from more


def _check_sums(
    path: Path,
    sums: Any,
    places: dict[str, str],
    notes: dict[str, Any],
    shards: Mapping[str, Mapping[str, StoredArray]],
) -> None:
    """Meet the sums that an index of ours tells, of itself and of its shards."""
    if not sums:
        return
    if sums != _sums_of(places, notes, {name: _text(shard) for name, shard in shards.items()}):
        raise damaged(path, "it, or one of its shards, is of another saving, or is")


def _text(shard: Mapping[str, StoredArray]) -> str:
    return shard.checksums if isinstance(shard, SafetensorsFile) else ""


def _sums_of(places: dict[str, str], notes: Mapping[str, Any], shards: Mapping[str, str]) -> str:
    described = [sorted(part.items()) for part in (places, notes, shards)]
    return f"{zlib.crc32(json.dumps(described).encode()):08x}"


# ---- writing -------------------------------------------------------------------------------------


def write_shards(
    path: str | os.PathLike[str],
    arrays: Mapping[str, Any],
    metadata: Mapping[str, str] | None,
    shard_bytes: int | str,
) -> Path | None:
    """Write named arrays to several safetensors files, and an index of them.

    All are written beside the old ones before the first takes its name; the index takes its own last. A crash
    between the two leaves shards of two savings, which reading refuses.

    Args:
        path: of the safetensors file that is divided, ``folder/model.safetensors``.
        arrays: names to arrays.
        metadata: text by name, kept in the index.
        shard_bytes: how many bytes of arrays a file holds at most, ``"5GB"``; a larger array has a file of its own.

    Returns:
        The path of the index; None if one file would hold it all, and nothing was written.

    Raises:
        ValueError: ``shard_bytes`` is no size, or the path is not that of a safetensors file.
    """
    path = Path(path)
    if path.suffix != _SUFFIX:
        raise ValueError(
            f"{path} cannot be divided: shard_bytes= needs a path that ends in {_SUFFIX}"
        )
    check_named_arrays(arrays, metadata)
    groups = _groups(arrays, _size(shard_bytes))
    if len(groups) < 2:
        return None
    index = Path(f"{path}.index.json")
    old = shard_paths(index)
    files = [
        f"{path.stem}-{i:05d}-of-{len(groups):05d}{_SUFFIX}" for i in range(1, len(groups) + 1)
    ]
    places = {name: file for file, group in zip(files, groups, strict=True) for name in group}
    notes: dict[str, Any] = {
        **(metadata or {}),
        "total_size": sum(_nbytes(array) for array in arrays.values()),
    }
    notes.pop(CHECKSUMS, None)
    with ExitStack() as stack:  # leaves them from the last to the first
        index_file = stack.enter_context(replacing(index))
        shards: dict[str, str] = {}
        for file, group in zip(files, groups, strict=True):
            shard = stack.enter_context(replacing(path.parent / file))
            shards[file] = write_into(shard, {name: arrays[name] for name in group})
            shard.flush()
            os.fsync(shard.fileno())  # so that renaming them takes no time
        notes[CHECKSUMS] = _sums_of(places, notes, shards)
        index_file.write(json.dumps({"metadata": notes, "weight_map": places}, indent=2).encode())
    for stale in {path, *old} - {path.parent / file for file in files}:
        stale.unlink(missing_ok=True)
    return index


def shard_paths(index: Path) -> list[Path]:
    """List the files of an index that was written here, to be removed when something else takes its place."""
    stem = re.escape(index.name.removesuffix(f"{_SUFFIX}.index.json"))
    ours = re.compile(rf"{stem}-\d{{5}}-of-\d{{5}}{re.escape(_SUFFIX)}")
    try:
        places, notes = _read_index(index)
    except (OSError, ValueError):
        return []
    if CHECKSUMS not in notes:
        return []
    return [index.parent / file for file in dict.fromkeys(places.values()) if ours.fullmatch(file)]


def _groups(arrays: Mapping[str, Any], most: int) -> list[list[str]]:
    """Fill one file after the other, in the order of the names given."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, array in arrays.items():
        nbytes = _nbytes(array)
        if groups[-1] and filled + nbytes > most:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += nbytes
    return groups


def _nbytes(array: Any) -> int:
    return int(np.prod(np.shape(array), dtype=np.int64)) * int(array.dtype.itemsize)


def _size(spelled: int | str) -> int:
    """Read a size: ``5_000_000_000``, ``"5GB"``, ``"500 MiB"``."""
    if isinstance(spelled, int) and not isinstance(spelled, bool) and spelled > 0:
        return spelled
    found = re.fullmatch(r"\s*(\d+)\s*([KMGT]i?B)\s*", str(spelled), re.IGNORECASE)
    if not found or not int(found[1]):
        raise ValueError(
            f"shard_bytes={spelled!r} is no size: give bytes, or text such as '5GB' or '500MiB'"
        )
    return int(found[1]) * _UNITS[found[2].upper()]
