"""Zip archives and streams that contradict themselves: refused with the file's name, as are other files."""

import io
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from funcnet.checkpoint.files.pytorch_file import PytorchFile, load_pytorch, looks_like_pytorch
from tests.checkpoint.pytorch_assembly import (
    FOUR,
    MAGIC,
    ORDERED_DICT,
    archive,
    dictionary,
    legacy,
    named,
    number,
    outcome,
    pickled,
    refuse,
    storage,
    tensor,
    text,
)

PROGRAM = pickled(dictionary(good=tensor()))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pt"


# ---- entries -------------------------------------------------------------------------------------

NAMES = {
    "../../x": "leads out",
    "archive/../../x": "leads out",
    "/etc/passwd": "leads out",
    "archive\\..\\x": "leads out",
    "c:x": "leads out",
    "archive/a\0b": "",
    "archive/data/0": "two entries",
    "archive/data.pkl": "two entries",
    "other/data.pkl": "2 entries FOLDER/data.pkl",
    "archive/constants.pkl": "TorchScript",
    "archive/code/x.py": "TorchScript",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_of_entries(path, name):
    archive(path, PROGRAM)
    with zipfile.ZipFile(path, "a") as file:
        entry = zipfile.ZipInfo("x")
        entry.filename = name
        file.writestr(entry, b"x")
    refuse(path, NAMES[name])


@pytest.mark.parametrize("top", ["archive", "x", "model_final", "ü", "a b"])
def test_any_top_folder(path, top):
    assert list(load_pytorch(archive(path, PROGRAM, top=top))) == ["good"]


@pytest.mark.parametrize("top", ["", "a/b", "."])
def test_data_elsewhere(path, top):
    outcome(archive(path, PROGRAM, top=top))
    refuse(archive(path, PROGRAM, top="a/b"), "0 entries FOLDER/data.pkl")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_entries(path, method):
    refuse(archive(path, PROGRAM, {"0": b"\0" * 10**6}, method=method), "compressed")


def test_other_zip_archives(path):
    with path.open("wb") as file:
        np.savez(file, x=np.ones(2))
    refuse(path, "0 entries FOLDER/data.pkl")
    with zipfile.ZipFile(path, "w"):
        pass
    refuse(path, "0 entries FOLDER/data.pkl")


def test_sums_of_the_pickle(path):
    raw = archive(path, PROGRAM).read_bytes()
    path.write_bytes(raw.replace(b"good", b"food"))
    refuse(path, "data.pkl is damaged")


def test_something_behind_the_pickle(path):
    refuse(archive(path, PROGRAM + b"x"), "behind the pickle")


# ---- the directory, by its numbers ---------------------------------------------------------------


def patched(path, position: int, form: str, value: int):
    """Change one number of a file, counted from its end where negative."""
    raw = bytearray(path.read_bytes())
    position %= len(raw)
    raw[position : position + struct.calcsize(form)] = struct.pack(form, value)
    path.write_bytes(raw)
    return path


def place_of(path, header: bytes, name: bytes, offset: int) -> int:
    """Find a number in the header of an entry."""
    raw = path.read_bytes()
    size = {b"PK\1\2": 46, b"PK\3\4": 30}[header]
    found = [
        i
        for i in range(len(raw))
        if raw[i:].startswith(header) and raw[i + size :].startswith(name)
    ]
    at = found[-1] if header == b"PK\1\2" else found[0]
    return at + offset


DIRECTORY_FIELDS = {"flags": (8, "<H", 1), "method": (10, "<H", 8), "sum": (16, "<I", 123456)}
DIRECTORY_FIELDS |= {
    f"{field} {value}": (offset, "<I", value)
    for field, offset in (("packed", 20), ("size", 24), ("header", 42))
    for value in (0, 1, 17, 10**4, 2**31, 2**32 - 2, 2**32 - 1)
    if (field, value) != ("header", 17)
}
DIRECTORY_FIELDS |= {
    f"{field} {value}": (offset, "<H", value)
    for field, offset in (("name", 28), ("extra", 30), ("comment", 32))
    for value in (1, 7, 2**16 - 1)
}


@pytest.mark.parametrize("field", DIRECTORY_FIELDS)
@pytest.mark.parametrize("entry", ["data.pkl", "data/0"])
def test_numbers_of_the_directory(path, field, entry):
    archive(path, PROGRAM)
    offset, form, value = DIRECTORY_FIELDS[field]
    place = place_of(path, b"PK\1\2", f"archive/{entry}".encode(), offset)
    at_zero = entry == "data.pkl" and field == "header 0"
    patched(path, place, form, value)
    if not at_zero:
        refuse(path)


@pytest.mark.parametrize("value", [0, 1, 7, 100, 2**16 - 1])
@pytest.mark.parametrize("offset", [26, 28])
def test_lengths_in_an_entrys_own_header(path, value, offset):
    archive(path, PROGRAM)
    place = place_of(path, b"PK\3\4", b"archive/data/0", offset)
    if (offset, value) != (28, 0):
        refuse(patched(path, place, "<H", value))


def test_an_entry_whose_own_name_is_another(path):
    archive(path, PROGRAM)
    place = place_of(path, b"PK\3\4", b"archive/data/0", 30 + len("archive/data/"))
    refuse(patched(path, place, "<B", ord("1")), "does not lie where")


@pytest.mark.parametrize("offset", [-14, -12, -10, -6])
@pytest.mark.parametrize("value", [1, 3, 100, 2**16 - 1])
def test_numbers_of_the_end(path, offset, value):
    """The number of entries, here and in all; the directory's size; its place."""
    archive(path, PROGRAM)
    changed = patched(path, offset, "<H" if offset < -10 else "<I", value)
    if offset == -14:
        outcome(changed)  # of this volume, which nobody needs
    else:
        refuse(changed)


def test_overlapping_entries(path):
    """Two entries of one place, one within another: as many copies as a zip bomb likes."""
    archive(path, PROGRAM, {"0": FOUR, "1": FOUR})
    target = place_of(path, b"PK\3\4", b"archive/data/0", 0)
    place = place_of(path, b"PK\1\2", b"archive/data/1", 42)
    refuse(patched(path, place, "<I", target), "does not lie where")
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as file:
        file.writestr(zipfile.ZipInfo("archive/data/1"), FOUR)
    archive(path, PROGRAM, {"0": inner.getvalue(), "1": FOUR})
    inside = place_of(path, b"PK\3\4", b"archive/data/1", 0)
    place = place_of(path, b"PK\1\2", b"archive/data/1", 42)
    refuse(patched(path, place, "<I", inside), "overlaps")


def test_truncated_anywhere(path):
    for write in (archive, legacy):
        whole = write(path, PROGRAM).read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            refuse(path)
        for more in (b"\0", b"x" * 30):
            path.write_bytes(whole + more)
            refuse(path)


def test_numbers_of_64_bits(path):
    """What archives beyond 4 GiB have: sizes and places in extra fields, an end of 64 bits."""
    with zipfile.ZipFile(path, "w") as file:
        for name, raw in {"data.pkl": PROGRAM, "data/0": FOUR}.items():
            with file.open(zipfile.ZipInfo(f"a/{name}"), "w", force_zip64=True) as entry:
                entry.write(raw)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\5\6")
    *_, count, size, begin, _ = struct.unpack("<4s4H2LH", raw[at:])
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, begin)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at, 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(raw[:at] + wide + locator + end)
    assert load_pytorch(path)["good"].tolist() == [0, 1, 2, 3]
    for position in (at + 24, at + 32, at + 40, at + 48, at + len(wide) + 8):
        for value in (1, 77, 2**40, 2**63, 2**64 - 1):
            path.write_bytes(raw[:at] + wide + locator + end)
            if position != at + 24:  # the number of entries in this volume
                refuse(patched(path, position, "<Q", value))


# ---- streams -------------------------------------------------------------------------------------

STREAMS = {
    "no storage": ((), b""),
    "another storage": (("1",), struct.pack("<q", 4) + FOUR),
    "a storage twice": (("0", "0"), (struct.pack("<q", 4) + FOUR) * 2),
    "more elements": (("0",), struct.pack("<q", 5) + FOUR + b"1234"),
    "a negative number of elements": (("0",), struct.pack("<q", -4) + FOUR),
    "a huge number of elements": (("0",), struct.pack("<q", 2**62) + FOUR),
    "a storage cut off": (("0",), struct.pack("<q", 4) + FOUR[:-1]),
    "something behind": (("0",), struct.pack("<q", 4) + FOUR + b"x"),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_that_contradict_themselves(path, kind):
    keys, storages = STREAMS[kind]
    refuse(legacy(path, PROGRAM, keys, storages))


def test_a_storage_of_gigantic_size(path):
    huge = pickled(dictionary(x=tensor(kept=storage(numel=2**61))))
    refuse(legacy(path, huge, ("0",), struct.pack("<q", 2**61) + FOUR), "cut off")


def test_streams_that_begin_otherwise(path):
    path.write_bytes(MAGIC + pickled(number(1002)))
    refuse(path, "the one known format is missing")
    path.write_bytes(MAGIC + MAGIC)
    refuse(path, "the one known format is missing")
    path.write_bytes(MAGIC)
    refuse(path)


def short(value: str) -> bytes:
    """Text as Python 2 wrote it."""
    return b"U" + bytes([len(value)]) + value.encode()


OLDER = {
    "a tensor of the first kind": named("torch._utils", "_rebuild_tensor")
    + b"("
    + storage()
    + b"K\0K\4\x85K\1\x85tR",
    "text of Python 2": tensor().replace(text("storage"), short("storage")),
    "a storage of a GPU": tensor(kept=storage(kind=b"ctorch.cuda\nFloatStorage\n")),
    "hooks of None": tensor(hooks=b"N"),
    "a parameter": named("torch._utils", "_rebuild_parameter")
    + b"("
    + tensor()
    + b"\x88"
    + ORDERED_DICT
    + b"tR",
}


@pytest.mark.parametrize("kind", OLDER)
@pytest.mark.parametrize("write", [archive, legacy])
def test_what_older_versions_wrote(path, kind, write):
    """An OrderedDict of pairs, made by Python 2, with tensors as they were described then."""
    pair = b"](" + short("w") + OLDER[kind] + b"e"
    made = named("collections", "OrderedDict") + b"](" + pair + b"e\x85R"
    assert load_pytorch(write(path, pickled(made)))["w"].tolist() == [0, 1, 2, 3]


# ---- other files ---------------------------------------------------------------------------------


def test_other_files_are_refused_by_what_they_are(path):
    with tarfile.open(path, "w") as file:
        file.addfile(tarfile.TarInfo("pickle"), None)
    refuse(
        path, "tar archive"
    )  # CVE-2025-32434: such files were unpickled in spite of weights_only
    assert looks_like_pytorch(path.read_bytes()[:512])
    for raw in (
        b"",
        b"x",
        b"\x80\x02}q\0.",
        b"\x08\0\0\0\0\0\0\0{}      ",
        b"\x93NUMPY",
        text("x"),
    ):
        path.write_bytes(raw)
        refuse(path, "no file of torch.save")
        refuse(path, "no file of torch.save", PytorchFile)
        assert not looks_like_pytorch(raw)


def test_files_that_are_not_there(tmp_path):
    for read in (load_pytorch, PytorchFile):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.pt")
        with pytest.raises(IsADirectoryError):
            read(tmp_path)


def test_two_arrays_of_one_name(path):
    two = b"}(" + text("a.b") + tensor() + text("a") + dictionary(b=tensor()) + b"u"
    refuse(archive(path, pickled(two)), "two arrays are called 'a.b'", PytorchFile)
    assert list(load_pytorch(path)) == ["a.b", "a"]
