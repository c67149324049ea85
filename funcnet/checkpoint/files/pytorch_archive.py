"""The zip archives that `torch.save` writes since version 1.6, read in place.

Reference: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (the format of zip archives).
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from funcnet.checkpoint.files.pytorch_names import machine_for
from funcnet.checkpoint.files.pytorch_records import Extent, Unpacked

__all__ = ["read_archive"]

END, END_64, LOCATOR_64, ENTRY, LOCAL = (
    struct.Struct(form) for form in ("<4s4H2LH", "<4sQ2H2L4Q", "<4sLQL", "<4s6H3L5H2L", "<4s5H3L2H")
)
"""The records of an archive: its end, the end's wide form and where that lies, and the two headers of an entry."""

WIDE = 0xFFFFFFFF
"""Stands for a number that is given in 64 bits elsewhere."""

ENTRY_ROOM = 400
"""What an entry takes in memory, in bytes."""


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One file within an archive: its name, how its bytes are kept, and where."""

    name: str
    header: int
    begin: int
    nbytes: int
    checksum: int


def read_archive(stream: memoryview, room: int) -> Unpacked:
    """Read an archive's list of entries and its pickle; the tensors stay where they are.

    Args:
        stream: the bytes of the file.
        room: how many bytes the objects made of it may take.

    Raises:
        ValueError: it is no whole archive of PyTorch, or holds code.
    """
    entries = _entries(stream, room)
    top = _top_folder(entries)
    program = _content(stream, entries[f"{top}/data.pkl"])
    machine = machine_for(program, room)
    tree, end = machine.run()
    if end != len(program):
        raise ValueError("something lies behind the pickle in data.pkl")
    folder = f"{top}/data/"
    extents = {
        name.removeprefix(folder): Extent(entry.begin, entry.nbytes, entry.checksum or None)
        for name, entry in entries.items()
        if name.startswith(folder)
    }
    swapped = _is_big_endian(stream, entries.get(f"{top}/byteorder"))
    return Unpacked(tree, extents, machine.steps, machine.foreign, swapped)


def _top_folder(entries: dict[str, ArchiveEntry]) -> str:
    tops = [name.split("/")[0] for name in entries if name.split("/")[1:] == ["data.pkl"]]
    if len(tops) != 1:
        raise ValueError(
            f"a zip archive with {len(tops)} entries FOLDER/data.pkl, where torch.save writes one"
        )
    return tops[0]


def _refuse_code(name: str) -> None:
    if name.endswith("/constants.pkl") or "/code/" in name:
        raise ValueError(
            "a TorchScript archive, which holds a program; save the arrays alone in PyTorch: "
            "torch.save(torch.jit.load(path).state_dict(), new_path)"
        )


def _content(stream: memoryview, entry: ArchiveEntry) -> memoryview:
    content = stream[entry.begin : entry.begin + entry.nbytes]
    # 0 is what PyTorch writes where it was told to write no checksums
    if entry.checksum and zlib.crc32(content) != entry.checksum:
        raise ValueError(
            f"{entry.name} is damaged: its bytes are not those that were saved (CRC-32)"
        )
    return content


def _is_big_endian(stream: memoryview, entry: ArchiveEntry | None) -> bool:
    order = b"little" if entry is None or entry.nbytes > 6 else bytes(_content(stream, entry))
    if order not in (b"little", b"big"):
        raise ValueError(f"the byte order is {order!r}, where it is little or big")
    return order == b"big"


# ---- the directory -------------------------------------------------------------------------------


def _entries(stream: memoryview, room: int) -> dict[str, ArchiveEntry]:
    """Read the directory; no two entries may share a name or a byte."""
    begin, end, count = _directory(stream)
    if count * ENTRY_ROOM > room:
        raise ValueError(f"{count} entries would take far more memory than the file has bytes")
    entries: dict[str, ArchiveEntry] = {}
    for entry in _each_entry(stream, begin, end, count):
        if entry.name in entries:
            raise ValueError(f"two entries are called {entry.name!r}")
        entries[entry.name] = entry
    behind = 0
    for entry in sorted(entries.values(), key=lambda entry: entry.header):
        if entry.header < behind:
            raise ValueError(f"{entry.name!r} overlaps another entry")
        behind = entry.begin + entry.nbytes
    if behind > begin:
        raise ValueError("an entry lies beyond the place of entries")
    return entries


def _directory(stream: memoryview) -> tuple[int, int, int]:
    """Find where the directory begins and ends, and how many entries it lists."""
    at = len(stream) - END.size
    if at < 0 or bytes(stream[at : at + 4]) != b"PK\5\6":
        raise ValueError("the file is cut off: a zip archive without its end")
    _, _, _, _, count, size, begin, _ = END.unpack_from(stream, at)
    locator = at - LOCATOR_64.size
    if locator >= 0 and bytes(stream[locator : locator + 4]) == b"PK\6\7":
        at = LOCATOR_64.unpack_from(stream, locator)[2]
        if at + END_64.size > locator or bytes(stream[at : at + 4]) != b"PK\6\6":
            raise ValueError("the archive's end does not lie where it says")
        *_, count, size, begin = END_64.unpack_from(stream, at)
    if begin + size > at or count * ENTRY.size > size:
        raise ValueError("the archive's directory does not lie where it says")
    return begin, begin + size, count


def _each_entry(stream: memoryview, at: int, end: int, count: int) -> Iterator[ArchiveEntry]:
    for _ in range(count):
        if at + ENTRY.size > end:
            raise ValueError("the archive's directory is cut off")
        fields = ENTRY.unpack_from(stream, at)
        name_size, extra_size, comment_size = fields[10:13]
        name_end = at + ENTRY.size + name_size
        extra_end = name_end + extra_size
        if fields[0] != b"PK\1\2" or extra_end + comment_size > end:
            raise ValueError("the archive's directory is damaged")
        name = _checked_name(bytes(stream[at + ENTRY.size : name_end]))
        _refuse_code(name)
        yield _entry(stream, name, fields, bytes(stream[name_end:extra_end]))
        at = extra_end + comment_size
    if at != end:
        raise ValueError("the archive's directory has more entries than it says")


def _checked_name(raw: bytes) -> str:
    """Refuse names that would lead out of a folder, though nothing is ever written under them."""
    name = str(raw, "utf-8")
    if name.startswith("/") or ".." in name.split("/") or any(c in name for c in "\\\0:"):
        raise ValueError(f"an entry is called {name!r}, which leads out of the archive")
    return name


def _entry(stream: memoryview, name: str, fields: tuple[int, ...], extra: bytes) -> ArchiveEntry:
    flags, method, checksum, packed, nbytes = fields[3], fields[4], *fields[7:10]
    if method or flags & 1:
        raise ValueError(f"{name!r} is compressed or encrypted; torch.save stores plain bytes")
    header = fields[16]
    packed, nbytes, header = _widened(nbytes, packed, header, extra, name)
    if packed != nbytes:
        raise ValueError(f"{name!r} has two sizes, {packed} and {nbytes}")
    begin = _data_begin(stream, name, header)
    if begin + nbytes > len(stream):
        raise ValueError(f"{name!r} goes beyond the end of the file, which may be cut off")
    return ArchiveEntry(name, header, begin, nbytes, checksum)


def _widened(
    nbytes: int, packed: int, header: int, extra: bytes, name: str
) -> tuple[int, int, int]:
    """Read the numbers that do not fit in 32 bits from where they are given in 64."""
    wide, numbers = _extra_field(extra, 1), []
    for number in (nbytes, packed, header):
        if number == WIDE:
            if len(wide) < 8:
                raise ValueError(f"{name!r} has no size in 64 bits, where it says that it has")
            number, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        numbers.append(number)
    nbytes, packed, header = numbers
    return packed, nbytes, header


def _extra_field(extra: bytes, wanted: int) -> bytes:
    """Find an extra field of an entry by its number."""
    while len(extra) >= 4:
        number, size = struct.unpack_from("<2H", extra)
        if number == wanted:
            return extra[4 : 4 + size]
        extra = extra[4 + size :]
    return b""


def _data_begin(stream: memoryview, name: str, header: int) -> int:
    """Find an entry's first byte, behind its own header, which must bear the same name."""
    if header + LOCAL.size > len(stream):
        raise ValueError(f"{name!r} lies beyond the end of the file, which may be cut off")
    fields = LOCAL.unpack_from(stream, header)
    begin = header + LOCAL.size
    raw = bytes(stream[begin : begin + fields[9]])
    if fields[0] != b"PK\3\4" or raw != name.encode():
        raise ValueError(f"{name!r} does not lie where the archive's directory says")
    return begin + fields[9] + fields[10]
