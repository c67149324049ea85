"""Damaged and hostile artifacts: refused with a sentence, never a crash.

The program that tries them is built with the sanitizers of addresses and of undefined behaviour, which also count
what is not freed.
"""

import copy
import os
import random
import subprocess
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import pytest

from funcnet.export import entry, spec
from tests.export.native.models import numbers
from tests.export.native.runner import PLUGINS, SOURCES, WARNINGS, build, plugin_path
from tests.export.native.writing import pack, unpack, write

SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

FORMAT = 3


@cache
def program() -> Path:
    """The program that tries files, with the runner in it."""
    library = build(
        "funcnet.o", [SOURCES / "funcnet.cpp"], ("-std=c++17", "-c", *WARNINGS, *SANITIZED)
    )
    source = Path(__file__).with_name("try_files.c")
    main = build("try_files.o", [source], ("-std=c11", "-c", *WARNINGS, *SANITIZED), "gcc")
    return build("try_files", [library, main], SANITIZED)


def tried(files, *more, plugin="lammps-jax-pjrt-cpu", check=True):
    """Try files: a list of codes and sentences, and how the program ended."""
    done = subprocess.run(
        [program(), plugin_path(plugin), *more],
        input="\n".join(map(str, files)) + "\n",
        capture_output=True,
        text=True,
        check=False,
        # the plugins' own leaks, of what they keep until the process ends, are theirs
        env={**os.environ, "LSAN_OPTIONS": f"suppressions={suppressions()}:print_suppressions=0"},
    )
    if check:
        assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-500:]
    lines = [line.split(" ", 2)[1:] for line in done.stdout.splitlines()]
    return [(int(code), sentence) for code, sentence in lines]


@cache
def suppressions() -> Path:
    path = program().with_name("suppressions")
    path.write_text("".join(f"leak:{Path(place).name}\n" for place in PLUGINS.values()))
    return path


def small(folder) -> Path:
    """An artifact of two functions with weights, an open length and a sum of lengths."""

    def call(params, state, x, y):
        return (jnp.concatenate([x, x]) @ params["w"], y + 1), state

    def alone(params, state):
        return params["b"] * 2, state

    entries = {
        "call": entry(call, spec(("n", 3), name="x"), spec(("n",), jnp.int32, "y")),
        "alone": entry(alone),
    }
    params = {"w": numbers(3, 2), "b": numbers(4), "empty": numbers(0, 2)}
    return write(folder / "good.fnx", entries, params, {}, [{"n": 1}, {"n": 2}])


@pytest.fixture
def amount(request):
    return 10 if request.config.getoption("grid") == "full" else 1


def saved(folder, mutants) -> list[Path]:
    """Write files of bytes."""
    files = []
    for number, content in enumerate(mutants):
        files.append(folder / f"{number}.fnx")
        files[-1].write_bytes(content)
    return files


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_good_file_runs_and_leaks_nothing(plugin, tmp_path):
    assert tried([small(tmp_path)] * 5, plugin=plugin) == [(0, "")] * 5


def test_flipped_and_missing_bytes(tmp_path, amount):
    """Of a whole file; most bytes are under a checksum, and of the rest those that matter are compared."""
    text = small(tmp_path).read_bytes()
    chance = random.Random(0)
    listed = int.from_bytes(text[-6:-2], "little")  # where the list of members begins

    def flipped(start):
        content = bytearray(text)
        for _ in range(chance.choice((1, 1, 2, 8))):
            content[chance.randrange(start, len(text))] = chance.choice(
                (0, 255, chance.randrange(256))
            )
        return bytes(content)

    mutants = [flipped(0) for _ in range(60 * amount)]
    mutants += [flipped(listed) for _ in range(150 * amount)]
    mutants += [text[: chance.randrange(len(text))] for _ in range(30 * amount)]
    outcomes = tried(saved(tmp_path, mutants), *(() if amount > 1 else ("open",)))
    assert len(outcomes) == len(mutants)
    assert {code for code, _ in outcomes} <= {0, FORMAT}
    refused = sum(code == FORMAT for code, _ in outcomes)
    assert refused > 0.6 * len(mutants)


HOSTILE = (None, True, -1, 0, 7, 2**31, 2**62, 2**63 - 1, 2**64, 1.5, "", "x", "7", [], {}, [[]])
HOSTILE += ("n*n", "-n", "n^63", "((n", "floordiv(n, 0)", "mod(n, n - 1)", "max(n", "9" * 30, "F32")


def places(value, path=()):
    """Every place in a tree of JSON."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value if isinstance(value, list) else ())
    )
    for key, child in items:
        yield from places(child, (*path, key))


def mutated(manifest, path, value):
    """A copy with another value at a place; `...` takes the place away."""
    made = copy.deepcopy(manifest)
    owner = made
    for key in path[:-1]:
        owner = owner[key]
    if value is ...:
        del owner[path[-1]]
    else:
        owner[path[-1]] = value
    return made


def test_manifests_that_lie(tmp_path, amount):
    """Each value is replaced by others; checksums are right. Where the lie is harmless, the file runs."""
    manifest, members = unpack(small(tmp_path))
    every = [
        (path, value)
        for path in places(manifest)
        if path
        for value in (*HOSTILE, ...)
        if path[0] != "trees"
    ]
    chosen = every if amount > 1 else random.Random(0).sample(every, 120)
    files = [
        pack(tmp_path / f"{i}.fnx", mutated(manifest, *change), members, hashes=False)
        for i, change in enumerate(chosen)
    ]
    outcomes = tried(files)
    assert len(outcomes) == len(files)
    for (path, value), (code, sentence) in zip(chosen, outcomes, strict=True):
        assert (code == 0) == (sentence == ""), (path, value, code)
        if path[0] == "files" or path == ("format",):
            assert code == FORMAT, (path, value, sentence)


BROKEN_JSON = ["", "{", "[" * 5000, '{"a":' * 5000, '{"a": 1, "a": 2}', '{"a": tru}', '{"a": 1} x']
BROKEN_JSON += [
    '{"a": "\\ud800"}',
    '{"a": "\\u00"}',
    '{"a": "\\x"}',
    '{"a": "',
    "{,}",
    '{"a" 1}',
    "\0",
]


@pytest.mark.parametrize(
    "text", BROKEN_JSON, ids=lambda text: text[:9].encode("unicode_escape").decode()
)
def test_json_that_is_none(text, tmp_path):
    _, members = unpack(small(tmp_path))
    path = tmp_path / "broken.fnx"
    pack(path, {}, members, text=text)
    ((code, sentence),) = tried([path], "open")
    assert code == FORMAT
    assert "JSON" in sentence


def test_weights_that_lie(tmp_path, amount):
    """Headers of safetensors with other numbers, under hashes that are right."""
    manifest, members = unpack(small(tmp_path))
    text = members["weights.safetensors"]
    size = 8 + int.from_bytes(text[:8], "little")
    chance = random.Random(0)

    def changed():
        content = bytearray(text)
        for _ in range(chance.choice((1, 1, 2))):
            content[chance.randrange(size)] = chance.choice(b'0123456789,[]{}":-F \xff\0')
        return bytes(content)

    mutants = [changed() for _ in range(200 * amount)]
    mutants += [b"", b"\0" * 7, b"\xff" * 8, (2**63).to_bytes(8, "little") + b"{}", text[:size]]
    files = [
        pack(tmp_path / f"{i}.fnx", manifest, {**members, "weights.safetensors": content})
        for i, content in enumerate(mutants)
    ]
    outcomes = tried(files)
    assert len(outcomes) == len(files)
    assert {code for code, _ in outcomes[-5:]} == {FORMAT}


def test_programs_that_are_damaged_do_not_reach_the_plugin(tmp_path):
    """Without a right hash they are refused; with one, the plugin's own reader decides."""
    manifest, members = unpack(small(tmp_path))
    name = next(name for name in members if name.startswith("programs/call"))
    content = bytearray(members[name])
    content[len(content) // 2] ^= 255
    _, sha = unpack(tmp_path / "good.fnx")
    told = {key: manifest["files"][key] for key in sha}
    assert told == manifest["files"]
    path = pack(tmp_path / "a.fnx", manifest, {**members, name: bytes(content)}, hashes=False)
    none = pack(tmp_path / "b.fnx", manifest, {**members, name: b"no program at all"})
    (first, second) = tried([path, none])
    assert first[0] == second[0] == FORMAT
    assert "SHA-256" in first[1]
    assert "no StableHLO" in second[1]


def test_hashes_of_every_length(tmp_path):
    """SHA-256 pads the last block in two ways; one byte more or less is another hash."""
    manifest, members = unpack(small(tmp_path))
    more = {f"extra/{n}": bytes(range(n)) for n in range(131)}
    good = pack(tmp_path / "a.fnx", manifest, {**members, **more})
    told, _ = unpack(good)
    bad = pack(tmp_path / "b.fnx", told, {**members, **more, "extra/9": b"012345678"}, hashes=False)
    assert tried([good, bad], "open") == [
        (0, ""),
        (
            FORMAT,
            f"'{bad}': the artifact's member 'extra/9' is not what was written: its SHA-256 differs",
        ),
    ]


def test_a_name_that_is_no_text_is_shown_as_such(tmp_path):
    """Sentences are UTF-8 without control characters, whatever a file's names are."""
    manifest, members = unpack(small(tmp_path))
    name = b"\xc3\xa9 \xff\xc3 \xe2\x82"
    header = b'{"%s": {"dtype": "F32", "shape": [1], "data_offsets": [0, 5]}}' % name
    text = len(header).to_bytes(8, "little") + header + bytes(8)
    path = pack(tmp_path / "a.fnx", manifest, {**members, "weights.safetensors": text})
    ((code, sentence),) = tried([path])
    assert code == FORMAT
    assert "weight '\u00e9 ?? ??' does not lie where its header says" in sentence
