"""Safetensors files made or damaged to do harm are refused by name, or read; nothing large is allocated."""

import json
import random
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from funcnet import checkpoint
from tests.checkpoint.damage import attempt, damaged_copy


def entry(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def file_of(path, header, body=b""):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "hostile.safetensors"


def test_a_hundred_thousand_entries(path):
    header = {f"x{i}": entry([1], [i, i + 1], "U8") for i in range(100_000)}
    stored = checkpoint.open_arrays(file_of(path, header, bytes(100_000)))
    assert len(stored) == 100_000
    assert stored["x99999"].read().tolist() == [0]


def test_a_hundred_thousand_arrays_come_back(tmp_path):
    arrays = dict.fromkeys((f"layers.{i}" for i in range(100_000)), np.zeros(1, np.int8))
    path = checkpoint.save_arrays(tmp_path / "a", arrays)
    assert sorted(checkpoint.open_arrays(path)) == sorted(arrays)
    assert checkpoint.load_arrays(path, select="layers.77777").keys() == {"layers.77777"}


def test_zero_size_arrays_at_one_place_are_what_the_format_allows(path):
    header = {f"x{i}": entry([0, i], [4, 4]) for i in range(1000)} | {"y": entry([1], [0, 4])}
    arrays = checkpoint.load_arrays(file_of(path, header, bytes(4)))
    assert len(arrays) == 1001
    assert arrays["x7"].shape == (0, 7)
    assert safetensors.numpy.load_file(path).keys() == arrays.keys()


def test_zero_size_arrays_within_another_are_refused(path):
    header = {"x": entry([0], [2, 2]), "y": entry([1], [0, 4])}
    with pytest.raises(ValueError, match=r"hostile.*x begins at byte"):
        checkpoint.open_arrays(file_of(path, header, bytes(4)))


def test_long_values_are_shown_short(path):
    for value in ([1] * 100_000, "F" * 100_000):
        header = {"x" * 100_000: entry(value, [0, 4]), "y": entry([], [4, 8], value)}
        with pytest.raises(ValueError, match="hostile") as caught:
            checkpoint.open_arrays(file_of(path, header, bytes(8)))
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", [b"[]", b"0", b'""', b"{}", b"null"])
@pytest.mark.parametrize("depth", [10, 1000, 100_000])
def test_deep_nesting(path, text, depth):
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        content = b'{"x":' + opening * depth + text + closing * depth + b"}"
        path.write_bytes(struct.pack("<Q", len(content)) + content)
        with pytest.raises(ValueError, match="hostile"):
            checkpoint.open_arrays(path)


numbers = st.one_of(
    st.integers(-2, 20), st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64, 10**400]), st.floats()
)
lists = st.lists(numbers, max_size=5)
described = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "F4", 3, None]),
        "shape": lists,
        "data_offsets": lists,
    }
)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)
honest = st.lists(
    st.tuples(st.sampled_from(["F32", "U8", "C64"]), st.lists(st.integers(0, 3), max_size=3)),
    max_size=5,
)


def consistent(several):
    """A header that fits its arrays, and how many bytes they take."""
    header, end = {}, 0
    for number, (dtype, shape) in enumerate(several):
        size = int(np.prod(shape)) * {"F32": 4, "U8": 1, "C64": 8}[dtype]
        header[f"x{number}"] = entry(shape, [end, end + size], dtype)
        end += size
    return header, end


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    several=honest,
    wrong=st.dictionaries(st.sampled_from(["x0", "x1", "y", "__metadata__", ""]), described | json_values, max_size=2),
    more=st.integers(-3, 12),
)  # fmt: skip
def test_headers_of_all_kinds(tmp_path, several, wrong, more):
    header, size = consistent(several)
    path = file_of(tmp_path / "hostile.safetensors", header | wrong, bytes(max(0, size + more)))
    attempt(lambda: checkpoint.load_arrays(path), path.stat().st_size, "hostile")


def test_random_damage(tmp_path, pytestconfig):
    """``--grid=full``: 10⁵ of them, and how long the slowest took."""
    rng = random.Random(7)
    arrays = {
        "a": np.arange(50, dtype=np.float32),
        "b.c": np.ones((2, 3), np.int16),
        "z": np.ones((0, 2)),
    }
    path = tmp_path / "hostile.safetensors"
    ours = checkpoint.save_arrays(path, arrays, {"note": "text"}).read_bytes()
    theirs = safetensors.numpy.save(arrays, {"note": "text"})
    attempt(lambda: checkpoint.load_arrays(path), 10**6, "")  # what is imported and interned once
    longest = 0.0
    for number in range(100_000 if pytestconfig.getoption("grid") == "full" else 500):
        path.write_bytes(damaged_copy((ours, theirs)[number % 2], rng))
        longest = max(
            longest, attempt(lambda: checkpoint.load_arrays(path), path.stat().st_size, "hostile")
        )
    print(f"the slowest took {longest:.3f} s")
