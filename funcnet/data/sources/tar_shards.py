"""Tar archives in WebDataset's layout, as one dataset that is read at random."""

import io
import json
import mmap
import tarfile
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from funcnet.data.sources.images import read_image

__all__ = ["TarShards"]

_Decoder = Callable[[bytes], Any]


def _read_npy(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)


_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "json": json.loads,
    "txt": bytes.decode,
    "cls": lambda content: np.int32(content),
    "npy": _read_npy,
} | dict.fromkeys(("jpg", "jpeg", "png", "webp"), read_image)


class TarShards:
    """Tar archives in the layout of WebDataset: files of one stem are one sample.

    ``0001.jpg`` and ``0001.cls`` become ``{"__key__": "0001", "jpg": image, "cls": label}``. The
    archives are indexed once, by their headers; then any sample is read at its offset, so that they
    are shuffled globally, not within a buffer.

    Args:
        paths: one uncompressed archive or several.
        decoders: a function from bytes for an extension, in addition to json, txt, cls (an
            integer), npy and the images (through Pillow); what has none stays bytes.

    Raises:
        ValueError: an archive is compressed, or not a tar archive.

    Example:
        >>> import io, tarfile, tempfile
        >>> path = tempfile.mkdtemp() + "/0.tar"
        >>> with tarfile.open(path, "w") as archive:
        ...     for name, content in (("a.txt", b"hello"), ("a.cls", b"3")):
        ...         entry = tarfile.TarInfo(name)
        ...         entry.size = len(content)
        ...         archive.addfile(entry, io.BytesIO(content))
        >>> data.TarShards(path)[0]
        {'__key__': 'a', 'txt': 'hello', 'cls': np.int32(3)}

    Reference:
        https://github.com/webdataset/webdataset
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        decoders: Mapping[str, _Decoder] | None = None,
    ) -> None:
        several = [paths] if isinstance(paths, (str, Path)) else list(paths)
        self.paths = [Path(path) for path in several]
        self.decoders = {**_DECODERS, **(decoders or {})}
        self._index = [_index_tar(path) for path in self.paths]
        self._stops = list(accumulate(len(samples) for samples in self._index))
        self._maps: dict[int, mmap.mmap] = {}

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read and decode one sample."""
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} is out of range for {self!r}")
        shard = next(k for k, stop in enumerate(self._stops) if index < stop)
        samples = self._index[shard]
        key, members = samples[index - self._stops[shard] + len(samples)]
        content = self._map(shard)
        sample: dict[str, Any] = {"__key__": key}
        for extension, start, size in members:
            decode = self.decoders.get(extension.rsplit(".", 1)[-1], bytes)
            sample[extension] = decode(content[start : start + size])
        return sample

    def _map(self, shard: int) -> mmap.mmap:
        found = self._maps.get(shard)
        if found is None:
            with self.paths[shard].open("rb") as file:
                found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps[shard] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def __repr__(self) -> str:
        return f"TarShards({len(self.paths)} files, {len(self)} samples)"


def _index_tar(path: Path) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """List ``(stem, [(extension, offset, size)])`` of an archive, in its order."""
    samples: dict[str, list[tuple[str, int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                stem, dot, extension = name.partition(".")
                if not member.isfile() or not dot:
                    continue
                key = f"{folder}/{stem}" if folder else stem
                entry = (extension.lower(), member.offset_data, member.size)
                samples.setdefault(key, []).append(entry)
    except tarfile.ReadError as error:
        raise ValueError(
            f"{path} must be an uncompressed tar archive, to be read at random: {error}"
        ) from error
    return list(samples.items())
