"""open_arrays: any file of arrays, told by its content and never by its name."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from funcnet.checkpoint.files.index_file import IndexFile
from funcnet.checkpoint.files.pytorch_file import PytorchFile, looks_like_pytorch
from funcnet.checkpoint.files.safetensors_file import SafetensorsFile
from funcnet.checkpoint.files.stored_array import StoredArray
from funcnet.core.files import as_path

__all__ = ["open_arrays", "open_selected"]

_HEAD = 512
"""How many of a file's first bytes tell its format."""

_KNOWN_STEMS = ("model", "pytorch_model", "diffusion_pytorch_model", "adapter_model")
"""How Hugging Face's libraries call the files of a model, without what follows the first dot."""

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes (.h5): read it with h5py, and save its arrays under names: "
     "checkpoint.save_arrays(path, {name: np.asarray(dataset)})"),
    (b"\x93NUMPY", "a NumPy array (.npy): np.load(path, allow_pickle=False) reads it"),
    (b"GGUF", "a GGUF file of llama.cpp, whose arrays are mostly quantized: take the model's .safetensors files"),
    (b"version https://git-lfs", "a pointer of Git LFS, and not the file itself: fetch it with `git lfs pull`"),
    (b"<!DOCTYPE", "a web page: the download gave a page, perhaps one that asks to log in, and not the file"),
    (b"<html", "a web page: the download gave a page, perhaps one that asks to log in, and not the file"),
    (b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (b"BZh", "compressed with bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
)  # fmt: skip
"""How files begin that are often taken for one of arrays, what they are, and what to do."""

_ENTRIES: tuple[tuple[tuple[str, ...], str], ...] = (
    ((".npy",), "an archive of NumPy arrays (.npz): np.load(path, allow_pickle=False) reads it, and "
     "checkpoint.save_arrays(path, dict(arrays)) saves it anew"),
    (("metadata.json", "config.json", "model.weights.h5"), "a model of Keras (.keras): load it in Keras, and save its "
     "weights under names: checkpoint.save_arrays(path, {w.path: w.numpy() for w in model.weights})"),
)  # fmt: skip
"""How the first entry of a zip archive ends that is none of PyTorch, and what the archive is."""


def open_arrays(path: str | os.PathLike[str]) -> Mapping[str, StoredArray]:
    """Open a file of named arrays, of which nothing is read before it is asked for.

    A safetensors file, an index of several (``model.safetensors.index.json``), a folder that holds either, or a file
    of ``torch.save``: the content tells which, not the name. Nothing in a file is ever run.

    Args:
        path: of the file or folder.

    Returns:
        Names to arrays that are still in the file: ``.shape`` and ``.dtype`` are known, ``.read()`` copies the array to
        memory, and a slice of ``.view()`` reads that part alone. It also has ``.metadata``, text by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is another kind of file, is cut off, or contradicts itself.

    Example:
        >>> path = fn.checkpoint.save_arrays("a.safetensors", {"x": np.arange(6).reshape(3, 2)})
        >>> stored = fn.checkpoint.open_arrays(path)["x"]
        >>> stored.shape, stored.view()[1:, 0].tolist()
        ((3, 2), [2, 4])

    Reference: https://huggingface.co/docs/safetensors
    """
    return open_selected(path, None)


def open_selected(
    path: str | os.PathLike[str], select: str | Sequence[str] | None
) -> Mapping[str, StoredArray]:
    """Open a file of named arrays of which some are wanted: in one of PyTorch, what else it holds does not matter."""
    place = as_path(path)
    if place.is_dir():
        place = _within(place)
    head = _head(place)
    if _is_json(head, place):
        return IndexFile(place, lambda shard: _open_one(shard, _head(shard), None))
    return _open_one(place, head, select)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def _is_json(head: bytes, path: Path) -> bool:
    return head.lstrip()[:1] == b"{" and not _is_safetensors(head, path)


def _is_safetensors(head: bytes, path: Path) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _open_one(
    path: Path, head: bytes, select: str | Sequence[str] | None
) -> Mapping[str, StoredArray]:
    """Open a file that holds arrays itself."""
    if _is_safetensors(head, path):
        return SafetensorsFile(path)
    if _is_json(head, path):
        raise ValueError(f"{path} is JSON text, where an index promises a file of arrays")
    for is_one, what in _REFUSED:
        if is_one(head):
            raise ValueError(f"{path} is {what}")
    if looks_like_pytorch(head) or _is_pickle(head):
        return PytorchFile(path, select)
    return SafetensorsFile(path)  # which says what is wrong with it


def _within(folder: Path) -> Path:
    """Find the one file of a folder that holds, or lists, its arrays."""
    for stem in _KNOWN_STEMS:
        for form in ("safetensors", "safetensors.index.json", "bin", "bin.index.json"):
            if (folder / f"{stem}.{form}").is_file():
                return folder / f"{stem}.{form}"
    found = sorted(folder.glob("*.index.json")) or sorted(folder.glob("*.safetensors"))
    found = found or [
        path for end in ("bin", "pt", "pth") for path in sorted(folder.glob(f"*.{end}"))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} holds several files of arrays: give the path of one: {names}")
    hint = "checkpoint.load reads the folder of a checkpoint; "
    if any(folder.glob("_*METADATA")):
        hint = (
            "it is a checkpoint of Orbax: restore it with Orbax, and save it with checkpoint.save; "
        )
    raise ValueError(
        f"{folder} holds no file of arrays: no .safetensors, no index of such (.index.json), no .bin, .pt or .pth; "
        f"{hint}give the path of the file"
    )


# ---- what else a file may be ---------------------------------------------------------------------


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")


def _is_msgpack(head: bytes) -> bool:
    """Tell a map whose first key is text."""
    after = {0xDE: 3, 0xDF: 5}.get(head[0] if head else 0, 1)
    is_map = len(head) > after and (0x81 <= head[0] <= 0x8F or after > 1)
    return is_map and (0xA0 <= head[after] <= 0xBF or head[after] in (0xD9, 0xDA, 0xDB))


def _is_onnx(head: bytes) -> bool:
    """Tell the version of the format (field 1), behind which comes who made it, or the graph."""
    follows = (b"\x12", b"\x1a", b"\x3a", b"\x42")
    return head[:1] == b"\x08" and head[1:2] < b"\x30" and head[2:3] in follows


def _first_entry(head: bytes) -> str:
    size = int.from_bytes(head[26:28], "little")
    return head[30 : 30 + size].decode("utf-8", "replace") if head[:4] == b"PK\3\4" else ""


_REFUSED: list[tuple[Callable[[bytes], bool], str]] = [
    (lambda head: not head, "empty: what was to write or fetch it did not"),
    *(
        (lambda head, start=start: head.startswith(start), what)
        for start, what in _SIGNATURES
    ),
    *(
        (lambda head, ends=ends: _first_entry(head).endswith(ends), what)
        for ends, what in _ENTRIES
    ),
    (_is_msgpack, "msgpack, as Flax wrote (.msgpack): read it with flax.serialization.msgpack_restore, flatten "
     "it to dotted names, and save it with checkpoint.save_arrays"),
    (_is_onnx, "an ONNX model, which holds a program: read its arrays with onnx.numpy_helper.to_array, and save them "
     "with checkpoint.save_arrays"),
]  # fmt: skip
