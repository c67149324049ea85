"""Files that are damaged, or made to harm: refused with a sentence, whatever part of them is wrong."""

import copy
import json
import random
import subprocess
import warnings
import zipfile

import numpy as np
import pytest

from funcnet import export
from funcnet.core.errors import ExportError
from tests.export.artifact.damage import (
    SOUND,
    manifest_of,
    members_of,
    with_sums,
    written,
    zipped,
)

MEMBERS = members_of()
SYMBOLIC = "programs/call.cpu.mlirbc"


def refused(path, content=None, match=None):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ExportError, match=match) as caught:
        export.load(path)
    assert str(path) in str(caught.value)


def loads_or_is_refused(path):
    """A change that only moves what nobody reads may load; then it is the same model."""
    try:
        artifact = export.load(path)
    except ExportError:
        return
    for name, array in export.load(SOUND).stored.items():
        np.testing.assert_array_equal(artifact.stored[name], array)


# ---- the zip ---------------------------------------------------------------------------------------

ITEMS = list(MEMBERS.items())
ZIPS = {
    "empty": (lambda: b"", "empty"),
    "text": (lambda: b"not a zip at all" * 9, "does not begin as a zip"),
    "an empty zip": (lambda: zipped([]), "does not begin as a zip"),
    "only a beginning": (lambda: b"PK\x03\x04" + bytes(100), "no zip"),
    "before it": (lambda: b"#!/bin/sh\n" + SOUND.read_bytes(), "does not begin"),
    "compressed": (lambda: zipped(ITEMS, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "a bomb": (
        lambda: zipped([("weights.safetensors", bytes(10**6))], compression=zipfile.ZIP_DEFLATED),
        "compressed",
    ),
    "outside": (lambda: zipped([*ITEMS, ("../x", b"")]), "no member of an artifact"),
    "absolute": (lambda: zipped([*ITEMS, ("/etc/x", b"")]), "no member of an artifact"),
    "a folder": (lambda: zipped([("programs/", b""), *ITEMS]), "no member of an artifact"),
    "more": (lambda: zipped([*ITEMS, ("programs/x.mlirbc", b"")]), "not those of its manifest"),
    "less": (lambda: zipped(ITEMS[1:]), "not those of its manifest"),
    "no manifest": (lambda: zipped(ITEMS[:-1]), "no manifest"),
    "twice": (lambda: zipped([*ITEMS, ITEMS[0]]), "twice"),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_zips_that_are_no_artifacts(kind, tmp_path):
    make, match = ZIPS[kind]
    with warnings.catch_warnings(action="ignore"):  # zipfile warns of a name that is there twice
        content = make()
    refused(tmp_path / "m.fnx", content, match)


def test_any_zip_tool_may_have_stored_the_members(tmp_path):
    (tmp_path / "m.fnx").write_bytes(zipped(ITEMS))
    loads_or_is_refused(tmp_path / "m.fnx")
    assert export.load(tmp_path / "m.fnx").manifest.name == "call"


def directory_entry(content, name):
    """Find where a member's entry in the directory begins."""
    start = content.rindex(b"PK\x05\x06")
    begin = int.from_bytes(content[start + 16 : start + 20], "little")
    return content.index(name.encode(), begin) - 46


FIELDS = {  # offset in an entry of the directory, bytes, what is written there
    "encrypted": (8, b"\x01\x00"),
    "streamed": (8, b"\x08\x00"),
    "method": (10, b"\x63\x00"),
    "crc": (16, b"\0\0\0\0"),
    "stored size": (20, b"\xff\xff\xff\x7f"),
    "size": (24, b"\xff\xff\xff\xff"),
    "begins at another": (42, b"\0\0\0\0"),
    "begins beyond": (42, b"\xff\xff\xff\x7f"),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("member", [SYMBOLIC, "manifest.json"])
def test_directories_that_lie(field, member, tmp_path):
    content = bytearray(SOUND.read_bytes())
    offset, value = FIELDS[field]
    begin = directory_entry(content, member) + offset
    content[begin : begin + len(value)] = value
    refused(tmp_path / "m.fnx", bytes(content))


@pytest.mark.parametrize("seed", range(12))
def test_bytes_changed_at_random(seed, tmp_path):
    rng = random.Random(seed)
    sound, path = SOUND.read_bytes(), tmp_path / "m.fnx"
    tail = len(sound) - 4000  # the directory and the end of the manifest, which no sum covers
    for _ in range(8):
        content = bytearray(sound)
        for _ in range(rng.choice([1, 1, 3])):
            place = rng.randrange(tail, len(sound)) if rng.random() < 0.7 else rng.randrange(tail)
            content[place] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        loads_or_is_refused(path)
        refused(path, sound[: rng.randrange(len(sound))])


# ---- the manifest ----------------------------------------------------------------------------------


def nodes(value, path=()):
    yield path
    for key, each in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield from nodes(each, (*path, key))


def replaced(value, path, new):
    """The same JSON with something else at one place."""
    if not path:
        return new
    made = copy.copy(value)
    made[path[0]] = replaced(value[path[0]], path[1:], new)
    return made


JUNK = (
    None,
    True,
    -1,
    2**70,
    1.5,
    "",
    "..",
    "a" * 600,
    "9^9^9",
    [],
    {},
    [[]],
    {"dict": [["a", 1]]},
    {"tuple": "x"},
)


@pytest.mark.parametrize("seed", range(10))
def test_manifests_with_anything_anywhere(seed, tmp_path):
    rng = random.Random(seed)
    manifest, path = manifest_of(MEMBERS), tmp_path / "m.fnx"
    places = [each for each in nodes(manifest) if each[:1] != ("files",) or rng.random() < 0.1]
    for _ in range(25):
        changed = replaced(manifest, rng.choice(places), rng.choice(JUNK))
        text = json.dumps(changed).encode()
        written(path, MEMBERS | {"manifest.json": text})
        loads_or_is_refused(path)


TEXTS = {
    "nothing": (b"", "cannot be read"),
    "no JSON": (b"{", "cannot be read"),
    "not UTF-8": (b'{"format": "\xff"}', "cannot be read"),
    "a list": (b"[]", "format"),
    "deep": (b"[" * 200_000, "cannot be read"),
    "twice": (b'{"format": "funcnet.export", "format": "funcnet.export"}', "twice"),
    "NaN": (b'{"format": NaN}', "NaN"),
    "another": (b'{"format": "x"}', "format"),
    "newer": (b'{"format": "funcnet.export", "version": 2}', "use a newer funcnet"),
    "older": (b'{"format": "funcnet.export", "version": 0}', "version"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_manifests_that_are_none(kind, tmp_path):
    text, match = TEXTS[kind]
    refused(written(tmp_path / "m.fnx", MEMBERS | {"manifest.json": text}), match=match)


# ---- weights and programs, with sums that fit ------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_weights_with_sums_that_fit(seed, tmp_path):
    rng = random.Random(seed)
    sound, path = MEMBERS["weights.safetensors"], tmp_path / "m.fnx"
    header = 8 + int.from_bytes(sound[:8], "little")
    for _ in range(15):
        content = bytearray(sound)
        content[rng.randrange(header)] = rng.randrange(256)
        cut = rng.choice([len(content), len(content), rng.randrange(len(content))])
        changed = with_sums(MEMBERS | {"weights.safetensors": bytes(content[:cut])})
        loads_or_is_refused(written(path, changed))


def other_weights(change):
    sound = MEMBERS["weights.safetensors"]
    length = int.from_bytes(sound[:8], "little")
    header = json.loads(sound[8 : 8 + length])
    text = json.dumps(change(header)).encode()
    return len(text).to_bytes(8, "little") + text + sound[8 + length :]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda h: h | {"w": h["w"] | {"dtype": "I32"}}, "takes 6 arrays"),
        (lambda h: h | {"w": h["w"] | {"shape": [4, 3]}}, "takes 6 arrays"),
        (lambda h: {("v" if k == "w" else k): v for k, v in h.items()}, "not those that the manifest names"),
        (lambda h: h | {"w": h["w"] | {"dtype": "F3"}}, "dtype"),
    ],
    ids=["dtype", "shape", "name", "unknown dtype"],
)  # fmt: skip
def test_weights_that_are_others(change, match, tmp_path):
    members = with_sums(MEMBERS | {"weights.safetensors": other_weights(change)})
    refused(written(tmp_path / "m.fnx", members), match=match)


PROGRAMS = {
    "nothing": (b"", "no portable StableHLO"),
    "text": (b"module {}", "no portable StableHLO"),
    "another": (MEMBERS["programs/draw.cpu.mlirbc"], "the manifest says"),
    "of fixed lengths": (MEMBERS["programs/call.cpu.batch=1.mlirbc"], "instead of"),
    "only a beginning": (MEMBERS[SYMBOLIC][:40], "no portable StableHLO"),
}


@pytest.mark.parametrize("kind", PROGRAMS)
def test_programs_that_are_others(kind, tmp_path):
    content, match = PROGRAMS[kind]
    members = with_sums(MEMBERS | {SYMBOLIC: content})
    refused(written(tmp_path / "m.fnx", members), match=match)


def test_damage_is_found_by_the_sums(tmp_path):
    for name in ("weights.safetensors", SYMBOLIC):
        content = MEMBERS[name][:-1] + bytes([MEMBERS[name][-1] ^ 1])
        refused(written(tmp_path / "m.fnx", MEMBERS | {name: content}), match="SHA-256")


def test_what_ends_another_process_does_not_end_this_one(tmp_path, monkeypatch):
    """With the sums in order, changed bytes of a program reach MLIR's parser, which may die of them."""
    rng = random.Random(0)
    content = bytearray(MEMBERS[SYMBOLIC])
    for _ in range(3):
        content[rng.randrange(40, len(content))] ^= 1 << rng.randrange(8)
    path = written(tmp_path / "m.fnx", with_sums(MEMBERS | {SYMBOLIC: bytes(content)}))
    with pytest.raises(ExportError):
        export.load(path, apart=True)

    done = subprocess.CompletedProcess([], -11, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: done)
    with pytest.raises(ExportError, match="died of them"):
        export.load(SOUND, apart=True)

    def endless(command, timeout, **settings):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", endless)
    with pytest.raises(ExportError, match="did not end"):
        export.load(SOUND, apart=True)
