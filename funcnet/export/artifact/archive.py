"""The zip: members stored as they are, always the same bytes; read without believing what it says."""

import hashlib
import re
import struct
import zipfile
from collections.abc import Iterable
from typing import Any, BinaryIO

from funcnet.core.errors import ExportError
from funcnet.export.records import FileRecord

__all__ = ["ArchiveWriter", "find_members", "is_intact"]

_DATE = (1980, 1, 1, 0, 0, 0)
"""The first that a zip can tell: the same model gives the same file on any day."""

_PADDING = 0xD935
"""The id under which zip tools expect bytes that only move a member's data to a multiple of a number."""

_LOCAL = struct.Struct("<4s5H3L2H")
_WIDE = 20
"""Bytes that a member's header takes more where sizes are told in 64 bits."""

_LOCAL_MAGIC = b"PK\x03\x04"
_MOST_MEMBERS = 10_000
_NAME = re.compile(r"manifest\.json|weights\.safetensors|programs/[A-Za-z0-9_.,=+-]{1,200}\.mlirbc")
_STREAMED_OR_HIDDEN = 0x0001 | 0x0008 | 0x0040 | 0x2000
"""Flags: encrypted, sizes told after the data, strongly encrypted, names hidden."""

_CHUNK = 2**24


class ArchiveWriter:
    """Write members one by one into an open file; use it in a ``with``."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)

    def __enter__(self) -> "ArchiveWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add(self, name: str, size: int, chunks: Iterable[Any], alignment: int = 1) -> FileRecord:
        """Write a member piece by piece; none of it is kept.

        Args:
            name: within the zip.
            size: of all pieces together, in bytes.
            chunks: the pieces.
            alignment: the member's data begins at a multiple of so many bytes of the file.
        """
        info = zipfile.ZipInfo(name, _DATE)
        info.create_system, info.external_attr = 3, 0o644 << 16
        info.file_size = size
        # as zipfile decides: beyond two gigabytes sizes are told in 64 bits
        wide = size * 1.05 > zipfile.ZIP64_LIMIT
        begin = self._file.tell() + _LOCAL.size + len(name) + (_WIDE if wide else 0)
        info.extra = _padding(begin, alignment)
        digest = hashlib.sha256()
        with self._zip.open(info, "w", force_zip64=wide) as member:
            for chunk in chunks:
                member.write(chunk)
                digest.update(chunk)
        return FileRecord(info.file_size, digest.hexdigest())


def _padding(begin: int, alignment: int) -> bytes:
    """Give the extra field of a header that ends at ``begin`` without it."""
    if begin % alignment == 0:
        return b""
    length = -(begin + 4) % alignment
    return struct.pack("<2H", _PADDING, length) + bytes(length)


def find_members(file: BinaryIO, content: memoryview) -> dict[str, memoryview]:
    """Find the members of a zip of any origin.

    Args:
        file: the zip, open for reading.
        content: all of its bytes.

    Returns:
        The bytes of each member, as they lie.

    Raises:
        ExportError: it is no zip, or none as artifacts are: members stored, once each, apart, under known names.
    """
    if bytes(content[:4]) != _LOCAL_MAGIC:
        raise ExportError(
            f"it is no artifact: it does not begin as a zip does{_looks_like(bytes(content[:9]))}"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            infos, end = archive.infolist(), archive.start_dir
    except Exception as error:  # of many kinds, for what is damaged on purpose
        raise ExportError(
            f"it is no zip that can be read ({type(error).__name__}: {error})"
        ) from None
    if len(infos) > _MOST_MEMBERS:
        raise ExportError(f"it has {len(infos)} members, more than any model needs")
    members: dict[str, memoryview] = {}
    begin = 0
    for info in sorted(infos, key=lambda each: each.header_offset):
        if info.filename in members:
            raise ExportError(f"{_shown(info.filename)} is there twice")
        start = _data_start(info, content, begin)
        begin = start + info.file_size
        if begin > end:
            raise ExportError(f"{_shown(info.filename)} reaches beyond the end of the data")
        members[info.filename] = content[start:begin]
    return members


def _looks_like(begin: bytes) -> str:
    """Guess what else a file is that people take for an artifact."""
    if begin[8:] == b"{":
        return ". It looks like safetensors: weights without a program, which fn.checkpoint reads"
    if begin[:1] == b"\x08":
        return ". It looks like ONNX, which ONNX Runtime runs"
    return ""


def _shown(name: str) -> str:
    return repr(name[:100])


def _data_start(info: zipfile.ZipInfo, content: memoryview, begin: int) -> int:
    """Check both headers of a member, and tell where its data begins."""
    name = _shown(info.filename)
    if not _NAME.fullmatch(info.orig_filename) or info.filename != info.orig_filename:
        hint = "; it looks like a file of torch.save" if info.filename.endswith("/data.pkl") else ""
        raise ExportError(f"{name} is no member of an artifact{hint}")
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise ExportError(f"{name} is compressed; members of an artifact are stored as they are")
    if info.flag_bits & _STREAMED_OR_HIDDEN:
        raise ExportError(f"{name} is encrypted, or written as a stream")
    if info.header_offset != begin:
        raise ExportError(f"{name} overlaps the member before it, or leaves a gap")
    head = bytes(content[begin : begin + _LOCAL.size])
    if len(head) < _LOCAL.size:
        raise ExportError(f"{name} has no header")
    magic, _, flags, method, _, _, crc, stored, size, letters, extra = _LOCAL.unpack(head)
    start = begin + _LOCAL.size + letters + extra
    told = bytes(content[begin + _LOCAL.size : begin + _LOCAL.size + letters])
    sizes = {0xFFFFFFFF, info.file_size}  # the first stands for a size told in 64 bits
    agree = (magic, flags, method, crc) == (_LOCAL_MAGIC, info.flag_bits, 0, info.CRC)
    if not agree or told != info.filename.encode() or not {stored, size} <= sizes:
        raise ExportError(f"{name}: its header is not what the directory of the zip says")
    return start


def is_intact(content: memoryview, record: FileRecord) -> bool:
    """Say whether bytes are those that a manifest tells."""
    if len(content) != record.bytes:
        return False
    digest = hashlib.sha256()
    for begin in range(0, len(content), _CHUNK):
        digest.update(content[begin : begin + _CHUNK])
    return digest.hexdigest() == record.sha256
