"""checkpoint.json: what a step's folder says of itself, and whether that is true."""

import json
import re
import zlib
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_origin

import jax
import numpy as np

import funcnet
from funcnet.core.files import write_atomically

__all__ = ["Manifest", "data_file", "file_note"]

_FILE = "checkpoint.json"
_VERSION = 1

_DATA_FILE = re.compile(r"arrays-\d+-of-\d+\.safetensors")


def data_file(process: int, count: int) -> str:
    """Name the file of one process's arrays.

    >>> data_file(0, 2)
    'arrays-0-of-2.safetensors'
    """
    return f"arrays-{process}-of-{count}.safetensors"


def _versions() -> dict[str, str]:
    return {
        "funcnet": funcnet.__version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Manifest:
    """What checkpoint.json tells.

    Attributes:
        step: the step.
        metrics: numbers by name.
        metadata: whatever the user gave.
        files: the data files by name, each with its ``bytes`` and the CRC-32 of its ``header``.
        pieces: arrays that lie in several pieces: shape, and file, name and beginning of each piece.
        tree: what `take_apart` described.
        token: tells one writing of a step from another.
        when: it was written, ISO 8601 in UTC.
        versions: of the packages that wrote it.
    """

    step: int
    metrics: dict[str, float]
    metadata: dict[str, Any]
    files: dict[str, dict[str, Any]]
    pieces: dict[str, Any]
    tree: Any
    token: str
    when: str = field(default_factory=_now)
    versions: dict[str, str] = field(default_factory=_versions)

    def write(self, folder: Path) -> None:
        """Write checkpoint.json to a folder."""
        write_atomically(folder / _FILE, _encoded({"version": _VERSION, **asdict(self)}))

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read a step's checkpoint.json and check that its files are there, whole.

        Files' sizes and headers are checked here, their numbers when they are read.

        Raises:
            ValueError: it is not whole; the message says what is wrong.
        """
        try:
            content = (folder / _FILE).read_bytes()
        except FileNotFoundError:
            raise ValueError(f"there is no {_FILE} in it") from None
        manifest = _made(cls, _decoded(content))
        if not folder.name.endswith(f"-{manifest.step:08d}"):
            raise ValueError(f"it was saved as step {manifest.step}")
        for name, note in manifest.files.items():
            if not _DATA_FILE.fullmatch(name):
                raise ValueError(f"its {_FILE} names {name!r}, which is no data file")
            if not (folder / name).is_file():
                raise ValueError(f"there is no {name} in it")
            found = file_note(folder / name)
            if found["bytes"] != note["bytes"]:
                raise ValueError(f"{name} has {found['bytes']} bytes instead of {note['bytes']}")
            if found != note:
                raise ValueError(f"the header of {name} is not what was saved (CRC-32)")
        return manifest


def file_note(path: Path) -> dict[str, Any]:
    """Note what tells a safetensors file from others: its size and the CRC-32 of its header.

    >>> path = fn.checkpoint.save_arrays("a.safetensors", {"x": np.zeros(4)})
    >>> file_note(path)["bytes"] == path.stat().st_size
    True
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = min(int.from_bytes(head, "little"), size)
        return {"bytes": size, "header": f"{zlib.crc32(head + file.read(length)):08x}"}


def _encoded(content: dict[str, Any]) -> bytes:
    """Spell the entries, a line for each, and the CRC-32 of those lines."""
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()
    )
    return f'{{\n{lines},\n"crc32": "{zlib.crc32(lines.encode()):08x}"\n}}\n'.encode()


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        entries = json.loads(content.decode("utf-8"))
        del entries["crc32"]
        sound = _encoded(entries) == content
    except (ValueError, KeyError, TypeError, RecursionError):
        sound, entries = False, {}
    if not sound:
        raise ValueError(f"its {_FILE} is damaged (CRC-32), or not of funcnet")
    if entries.pop("version") != _VERSION:
        raise ValueError(f"its {_FILE} was written by a newer funcnet: update funcnet")
    return entries


def _made(kind: type[Manifest], entries: dict[str, Any]) -> Manifest:
    """Make a manifest of entries whose checksum is right, whoever wrote them."""
    kinds: dict[str, Any] = {field.name: field.type for field in fields(kind)}
    if entries.keys() != kinds.keys() or not all(
        isinstance(entries[name], (get_origin(of) or of))
        for name, of in kinds.items()
        if of is not Any
    ):
        raise ValueError(f"its {_FILE} is not of funcnet")
    return kind(**entries)
