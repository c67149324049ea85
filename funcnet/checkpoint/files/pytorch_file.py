"""Reading the files of `torch.save`, without PyTorch and without running anything of them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from funcnet.checkpoint.files.pickle_machine import Foreign
from funcnet.checkpoint.files.pytorch_archive import read_archive
from funcnet.checkpoint.files.pytorch_arrays import PytorchArray, memory_limit, stored_tensor
from funcnet.checkpoint.files.pytorch_legacy import MAGIC_BYTES, read_legacy
from funcnet.checkpoint.files.pytorch_records import ElementType, Storage, TensorRecord, Unpacked
from funcnet.checkpoint.files.stored_array import StoredArray, map_file
from funcnet.core import paths

__all__ = ["PytorchFile", "looks_like_pytorch", "read_pytorch"]

DEEPEST = 100
"""How many containers may lie in one another."""

PLAIN = (int, float, complex, str, bytes, set, type(None))

LEFT_OUT = object()

REASONS = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor; save tensor.to_dense()",
    "torch._utils._rebuild_qtensor": "a quantized tensor; save tensor.dequantize(), or tensor.int_repr()",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has no values",
    "torch._utils._rebuild_nested_tensor": "a nested tensor; save the list tensor.unbind()",
    "torch.storage._load_from_bytes": "a file of PyTorch inside of this one; save its tensors themselves",
    "torch.nn.modules.": "a whole module, whose class is a program; save module.state_dict()",
    "numpy.": "a NumPy scalar or array, kept as a call of NumPy; save torch.as_tensor(x), or x.item()",
    "argparse.": "the options of a command line; save vars(options)",
}
"""How the names of what is refused begin, with what it is and what to save in its place."""


class PytorchFile(Mapping[str, StoredArray]):
    """An open file of `torch.save`: its arrays by dotted name, none of them read yet.

    ``{"model": {"fc.weight": tensor}}`` gives ``"model.fc.weight"``, an item of a list its index as name, a tensor
    saved alone ``""``. Values that are no arrays are left out; `read_pytorch` gives them too.

    Args:
        path: of the file.
        select: names, or patterns such as ``"model.*"``, of the arrays to keep; None keeps all.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file of `torch.save`, is cut off, contradicts itself, or holds something under a selected
            name that is neither array nor plain value, such as a module; or a pattern matches no name.
    """

    def __init__(
        self, path: str | os.PathLike[str], select: str | Sequence[str] | None = None
    ) -> None:
        self.metadata: dict[str, str] = {}
        self._arrays: dict[str, StoredArray] = {}
        with _naming(path):
            _Reader(path, select, self._keep).read()

    def _keep(self, name: str, array: PytorchArray) -> None:
        if name in self._arrays:
            raise ValueError(f"two arrays are called {name!r}")
        self._arrays[name] = array

    def __enter__(self) -> "PytorchFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; arrays that were taken from it can still be read."""
        self._arrays = {}

    def __getitem__(self, name: str) -> StoredArray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def read_pytorch(path: str | os.PathLike[str], select: str | Sequence[str] | None = None) -> Any:
    """Read everything in a file of `torch.save`, without PyTorch and without running anything of it.

    Args:
        path: of a ``.pt`` or ``.pth`` file, of any version since PyTorch 0.4.
        select: dotted names, or patterns such as ``"model.*"``, of the values to read; None reads all.

    Returns:
        The dicts, lists and tuples that were saved, with NumPy arrays for tensors, NumPy dtypes for dtypes, tuples for
        `torch.Size`, and text for `torch.device`. Tensors that are the same part of the same storage are one array.
        Attributes of dicts and tensors are left out. Of what is not selected, dicts lack it, and lists and tuples have
        None in its place.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file of `torch.save`, is cut off, contradicts itself, or holds something under a selected
            name that is neither array nor plain value, such as a module; or a pattern matches no name.

    Example:
        >>> from funcnet.checkpoint.files.pytorch_writer import write_pytorch
        >>> path = write_pytorch("model.pt", {"weight": np.ones(2, np.float32), "epoch": 3})
        >>> read_pytorch(path)
        {'weight': array([1., 1.], dtype=float32), 'epoch': 3}
        >>> read_pytorch(path, select="epoch")
        {'epoch': 3}

    Reference: https://docs.pytorch.org/docs/stable/notes/serialization.html
    """
    arrays: dict[tuple[Any, ...], np.ndarray] = {}
    room = memory_limit(os.stat(path).st_size)

    def read(name: str, array: PytorchArray) -> np.ndarray:
        nonlocal room
        place = (array.begin, array.dtype, array.shape, array.strides, array.conj, array.neg)
        if place not in arrays:
            room -= array.nbytes
            if room < 0:
                raise ValueError(
                    f"its arrays up to {name!r} take far more memory than the file has bytes, because they show "
                    "the same elements again and again; open it as a PytorchFile and read those you need"
                )
            arrays[place] = array.read()
        return arrays[place]

    with _naming(path):
        return _Reader(path, select, read).read()


def looks_like_pytorch(head: bytes) -> bool:
    """Tell by a file's first bytes, of which 300 are enough, whether PyTorch may have written it."""
    return head[:4] in (b"PK\3\4", b"PK\5\6") or MAGIC_BYTES in head[:32] or _is_tar(head)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Have every refusal begin with the file's name."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from None


def _unpack(content: np.ndarray) -> Unpacked:
    """Read a file's pickle, by the form that its first bytes tell."""
    stream, room = content.data, memory_limit(len(content))
    head = bytes(stream[:300])
    if head[:2] == b"PK":
        return read_archive(stream, room)
    if MAGIC_BYTES in head[:32]:
        return read_legacy(stream, room)
    if _is_tar(head):
        raise ValueError(
            "a tar archive, as PyTorch wrote before version 0.1.10; load it with such a PyTorch, and save it anew"
        )
    raise ValueError(
        "no file of torch.save: it is neither a zip archive nor a stream that begins as they do"
    )


class _Reader:
    """Goes through the value in a file, and lets a function take each array that is selected."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        select: str | Sequence[str] | None,
        take: Callable[[str, PytorchArray], Any],
    ) -> None:
        self._path = path
        self._content = map_file(path)
        self._unpacked = _unpack(self._content)
        self._patterns = [select] if isinstance(select, str) else select
        self._take = take
        self._names: list[str] = []
        self._inside: list[int] = []
        self._visits = 4 * self._unpacked.steps + 1000
        self._room = memory_limit(len(self._content))

    def read(self) -> Any:
        """Read the value; what the file asks for and does not keep is refused too, unless there is a selection."""
        value = self._walk(self._unpacked.tree, "")
        if self._patterns is None and self._unpacked.foreign:
            raise ValueError(
                _refusal("something that the file makes and drops", self._unpacked.foreign[0])
            )
        if self._patterns is not None:
            paths.select(self._patterns, self._names)  # raises where a pattern matches none
        return None if value is LEFT_OUT else value

    def _walk(self, value: Any, name: str) -> Any:
        self._count(name)
        if not isinstance(value, (dict, list, tuple)):
            self._names.append(name)
            return self._leaf(value, name) if self._selected(name) else LEFT_OUT
        if id(value) in self._inside or len(self._inside) > DEEPEST:
            raise ValueError(
                f"{name[:100]!r} lies within itself, or within more than {DEEPEST} others"
            )
        self._inside.append(id(value))
        try:
            return self._dict(value, name) if isinstance(value, dict) else self._list(value, name)
        finally:
            self._inside.pop()

    def _count(self, name: str) -> None:
        """Refuse a value whose parts are the same few again and again, as often as no memory and no patience last."""
        self._visits -= 1
        self._room -= len(name)
        if self._visits < 0 or self._room < 0:
            raise ValueError(
                "its containers show the same parts again and again, far more than the file has"
            )

    def _dict(self, value: dict[Any, Any], name: str) -> Any:
        items = {key: self._walk(item, paths.join(name, str(key))) for key, item in value.items()}
        kept = {key: item for key, item in items.items() if item is not LEFT_OUT}
        return kept if kept or not items else LEFT_OUT

    def _list(self, value: list[Any] | tuple[Any, ...], name: str) -> Any:
        items = [self._walk(item, paths.join(name, str(index))) for index, item in enumerate(value)]
        if items and all(item is LEFT_OUT for item in items):
            return LEFT_OUT
        return type(value)(None if item is LEFT_OUT else item for item in items)

    def _selected(self, name: str) -> bool:
        return self._patterns is None or any(
            paths.matches(pattern, name) for pattern in self._patterns
        )

    def _leaf(self, value: Any, name: str) -> Any:
        if isinstance(value, Storage):
            value = TensorRecord(value, value.element, 0, (value.numel,), (1,))
        if isinstance(value, TensorRecord):
            return self._take(name, self._array(value, name))
        if isinstance(value, ElementType) and value.dtype is not None:
            return value.dtype
        if isinstance(value, PLAIN):
            return value
        raise ValueError(_refusal(repr(name) if name else "its value", value))

    def _array(self, record: TensorRecord, name: str) -> PytorchArray:
        try:
            return stored_tensor(
                record,
                self._content,
                self._unpacked,
                f"{self._path}: {name}" if name else f"{self._path}",
            )
        except ValueError as error:
            raise ValueError(f"{name!r}: {error}") from None


def _refusal(where: str, value: Any) -> str:
    what = (
        value.what if isinstance(value, Foreign) else f"the class {getattr(value, 'name', value)}"
    )
    reason = next((text for start, text in REASONS.items() if what.startswith(start)), None)
    reason = (
        reason or "which only a program could rebuild; save numbers, text, lists, dicts and tensors"
    )
    return f"{where} is {what}, {reason}. Or leave it out with select="
