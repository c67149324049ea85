"""Files of torch.save put together by hand, so that tests can say what no honest program would."""

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from funcnet.checkpoint.files.pytorch_file import load_pytorch

ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage(key="0", numel=4, kind=b"ctorch\nFloatStorage\n", more=b"") -> bytes:
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(numel) + more + b"tQ"


def tensor(
    shape=(4,), strides=(1,), offset=0, kept=None, hooks=ORDERED_DICT, more=b"", version=2
) -> bytes:
    """A tensor of the storage "0", which `archive` fills with 0, 1, 2, 3."""
    start = named("torch._utils", f"_rebuild_tensor_v{version}") + b"("
    place = (kept or storage()) + number(offset) + numbers(shape) + numbers(strides)
    return start + place + b"\x89" + hooks + more + b"tR"


def dictionary(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def pickled(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


FOUR = struct.pack("<4f", 0, 1, 2, 3)


def archive(
    path: Path,
    program: bytes,
    storages: Mapping[str, bytes] | None = None,
    *,
    top: str = "archive",
    order: bytes = b"little",
    more: Mapping[str, bytes] | None = None,
    method: int = zipfile.ZIP_STORED,
) -> Path:
    """Write a zip archive as torch.save does, with sums that are right."""
    entries = {"data.pkl": program, "byteorder": order}
    entries |= {f"data/{key}": raw for key, raw in (storages or {"0": FOUR}).items()}
    entries |= {"version": b"3\n"}
    whole = {f"{top}/{name}": raw for name, raw in entries.items()} | dict(more or {})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        for name, raw in whole.items():
            file.writestr(zipfile.ZipInfo(name), raw, compress_type=method)
    path.write_bytes(out.getvalue())
    return path


MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def legacy(path: Path, program: bytes, keys=None, storages: bytes | None = None) -> Path:
    """Write the stream of before version 1.6, with the storage "0" if the program has a storage."""
    if keys is None:
        keys, storages = (("0",), storages) if b"storage" in program else ((), b"")
    start = MAGIC + pickled(number(1001)) + pickled(dictionary(little_endian=b"\x88"))
    listed = pickled(b"](" + b"".join(map(text, keys)) + b"e")
    raw = struct.pack("<q", 4) + FOUR if storages is None else storages
    path.write_bytes(start + program + listed + raw)
    return path


def refuse(path, message="", read=load_pytorch, **settings):
    """Have a file refused, with its name and a reason."""
    with pytest.raises(ValueError, match=rf"(?s)^{re.escape(str(path))}: .*{message}"):
        read(path, **settings)


def outcome(path, **settings):
    """Read a file: its value, or the refusal, which has to name the file."""
    try:
        return load_pytorch(path, **settings)
    except ValueError as error:
        if not str(error).startswith(f"{path}: "):
            raise
        return error
