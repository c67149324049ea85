"""Which parts of a tree's arrays this process writes, copied to host memory."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from funcnet.checkpoint.files.safetensors_file import SafetensorsFile
from funcnet.checkpoint.trees.pieced_array import Piece, PiecedArray

__all__ = ["Share", "find_arrays", "pieces_of_files", "share_of"]

_PIECES = "funcnet.pieces"
"""The metadata's entry that says of which array, of which shape and from where each piece is."""


class Share(NamedTuple):
    """What one process writes.

    Attributes:
        arrays: arrays and pieces by name.
        metadata: text for the file, which says what the pieces are pieces of.
    """

    arrays: dict[str, Any]
    metadata: dict[str, str]


def share_of(arrays: dict[str, Any], process: int, copy: bool) -> Share:
    """Choose what a process writes: its pieces of arrays that are spread over processes; the first one, all others.

    Args:
        arrays: of the whole tree, by name; the same names in each process.
        process: this process.
        copy: whether to copy to host memory, so that the arrays may be donated or written over afterwards.

    Returns:
        Each piece once, whatever the number of devices that hold it.
    """
    chosen: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    for name, array in arrays.items():
        if getattr(array, "is_fully_addressable", True):
            if process == 0:
                chosen[name] = array
            continue
        for shard in array.addressable_shards:
            if shard.replica_id != 0:
                continue
            begin = [
                one.indices(size)[0] for one, size in zip(shard.index, array.shape, strict=True)
            ]
            piece = _piece_name(name, begin, shard.data.shape, array.shape)
            chosen[piece] = shard.data
            if piece != name:
                notes[piece] = [name, [*array.shape], begin]
    if copy:
        chosen = _copied(chosen)
    return Share(chosen, {_PIECES: json.dumps(notes)} if notes else {})


def _piece_name(name: str, begin: list[int], shape: tuple[int, ...], whole: tuple[int, ...]) -> str:
    if shape == whole:
        return name
    ranges = (f"{low}:{low + size}" for low, size in zip(begin, shape, strict=True))
    return f"{name}[{','.join(ranges)}]"


def _copied(arrays: dict[str, Any]) -> dict[str, Any]:
    """Copy arrays to host memory, all transfers at once."""
    for array in arrays.values():
        if isinstance(array, jax.Array):
            array.copy_to_host_async()
    return {name: _host_copy(array) for name, array in arrays.items()}


def _host_copy(array: Any) -> np.ndarray:
    # On CPUs NumPy sees JAX's own memory, which the next step may be given. From other devices it is a copy already.
    if isinstance(array, jax.Array) and next(iter(array.devices())).platform != "cpu":
        return np.asarray(array)
    return np.array(array, copy=True)


def pieces_of_files(folder: Path, names: list[str]) -> dict[str, Any]:
    """Collect what the files of all processes say of their pieces.

    Returns:
        By array its ``shape`` and its ``pieces``: the file, the name there, and where it begins.
    """
    found: dict[str, Any] = {}
    for file in names:
        notes = json.loads(SafetensorsFile(folder / file).metadata.get(_PIECES, "{}"))
        for piece, (name, shape, begin) in notes.items():
            entry = found.setdefault(name, {"shape": shape, "pieces": []})
            entry["pieces"].append([file, piece, begin])
    return found


def find_arrays(folder: Path, files: list[str], pieces: dict[str, Any]) -> dict[str, PiecedArray]:
    """Open the data files of a step: the arrays by name, none of them read yet.

    Raises:
        ValueError: a file is damaged, or the pieces do not make up an array.
    """
    opened = {name: SafetensorsFile(folder / name) for name in files}
    parts = {(file, piece) for entry in pieces.values() for file, piece, _ in entry["pieces"]}
    arrays = {
        name: PiecedArray.whole(f"{folder / file}: {name}", array)
        for file, stored in opened.items()
        for name, array in stored.items()
        if (file, name) not in parts
    }
    for name, entry in pieces.items():
        blocks = [
            Piece(tuple(begin), opened[file][piece]) for file, piece, begin in entry["pieces"]
        ]
        arrays[name] = PiecedArray(f"{folder}: {name}", tuple(entry["shape"]), blocks)
    return arrays
