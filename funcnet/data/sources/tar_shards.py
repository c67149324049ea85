"""Tar archives in WebDataset's layout, as one dataset that is read at random."""

import io
import json
import mmap
import tarfile
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from funcnet.data.loading.errors import naming
from funcnet.data.order.indices import checked_index
from funcnet.data.sources.images import read_image

__all__ = ["TarShards"]

_BLOCK = 512  # bytes of a header
_MAPS = 64  # shards that are mapped at a time

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
        ValueError: an archive is compressed or not a tar archive, is truncated or damaged, or has a
            member twice; or a member is not what its extension says, when it is read.

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
        index = checked_index(index, len(self), self)
        shard = bisect_right(self._stops, index)
        samples = self._index[shard]
        key, members = samples[index - self._stops[shard] + len(samples)]
        content = self._map(shard)
        sample: dict[str, Any] = {"__key__": key}
        for extension, start, size in members:
            decode = self.decoders.get(extension.rsplit(".", 1)[-1], bytes)
            with naming(f"{key}.{extension} of {self.paths[shard]}", f"what .{extension} says"):
                sample[extension] = decode(content[start : start + size])
        return sample

    def _map(self, shard: int) -> mmap.mmap:
        found = self._maps.get(shard)
        if found is None:
            with self.paths[shard].open("rb") as file:
                found = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            # Each map holds a descriptor. One that is forgotten lives while a thread reads from it.
            while len(self._maps) >= _MAPS:
                self._maps.pop(next(iter(self._maps), -1), None)
            self._maps[shard] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def __repr__(self) -> str:
        return f"TarShards({len(self.paths)} files, {len(self)} samples)"


_Sample: TypeAlias = tuple[str, list[tuple[str, int, int]]]


def _index_tar(path: Path) -> list[_Sample]:
    """List ``(stem, [(extension, offset, size)])`` of an archive, in its order."""
    size = path.stat().st_size
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                _add_member(places, member, path, size)
            end = archive.offset
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(
            f"{path} must be an uncompressed tar archive, to be read at random: {error}"
        ) from error
    _check_end(path, end)
    samples: dict[str, list[tuple[str, int, int]]] = {}
    for name, (offset, length) in places.items():
        folder, _, file = name.rpartition("/")
        stem, dot, extension = file.partition(".")
        # What begins with a dot is not part of a sample, such as the "._" files that a Mac adds.
        if stem and dot and "__MACOSX" not in folder.split("/"):
            key = f"{folder}/{stem}" if folder else stem
            samples.setdefault(key, []).append((extension.lower(), offset, length))
    if not samples:
        raise ValueError(f"{path} holds no sample: no file whose name has a stem and an extension")
    for key, members in samples.items():
        extensions = [extension for extension, _, _ in members]
        if len(set(extensions)) < len(extensions):
            raise ValueError(f"{path} has {key}.{extensions} more than once, but for their case")
    return list(samples.items())


def _add_member(
    places: dict[str, tuple[int, int]], member: tarfile.TarInfo, path: Path, size: int
) -> None:
    """Note where a member lies."""
    where = f"{path}, {member.name} at byte {member.offset}"
    if member.isdir():
        return
    if member.islnk() and member.linkname in places:  # the same file once more
        place = places[member.linkname]
    elif not member.isreg() or member.issparse():
        raise ValueError(f"{where} is no plain file but a link, a device or sparse")
    else:
        place = member.offset_data, member.size
    if sum(place) > size:
        raise ValueError(f"{where} is truncated: it ends at byte {sum(place)} of {size}")
    if member.name in places:
        raise ValueError(f"{where} is there a second time")
    places[member.name] = place


def _check_end(path: Path, end: int) -> None:
    """Check that the members end with the archive: `tarfile` takes a damaged header for its end."""
    with path.open("rb") as file:
        file.seek(end)
        block = file.read(_BLOCK)
        if len(block) < _BLOCK:
            raise ValueError(f"{path} is truncated: the mark of its end is missing at byte {end}")
        if any(block):
            raise ValueError(
                f"{path} has a damaged header at byte {end}, where a member should begin"
            )
        place = end
        while block := file.read(1 << 20):
            if any(block):
                raise ValueError(
                    f"{path} goes on after the end of its members at byte {place}: archives are joined"
                    " with tar --concatenate, or given as a list"
                )
