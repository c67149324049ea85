"""Headers that lie, are cut off or absurd are refused; every dtype comes back; nothing large is allocated."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from funcnet import checkpoint
from funcnet.core.safetensors_format import DTYPES, read_header


def _file(path, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def _array(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_comes_back(tmp_path, name):
    dtype = DTYPES[name]
    array = np.arange(6).reshape(2, 3).astype(dtype)
    path = tmp_path / "a.safetensors"
    path.write_bytes(
        safetensors.numpy.save({"x": array, "empty": array[:0], "scalar": np.array(array[0, 1])})
    )
    back = checkpoint.load_arrays(path)
    assert {key: (value.dtype, value.shape) for key, value in back.items()} == {
        "x": (dtype, (2, 3)), "empty": (dtype, (0, 3)), "scalar": (dtype, ())
    }  # fmt: skip
    assert back["x"].tobytes() == array.tobytes()


LIES = {
    "empty": (b"", b""),
    "overflow beside nothing": ({"a": _array([0, 2**62, 4], [0, 0])}, b""),
    "many axes": ({"a": _array([1] * 33, [0, 4])}, bytes(4)),
    "huge": (b'{"a":{"dtype":"F32","shape":[' + b"9" * 4000 + b'],"data_offsets":[0,4]}}', bytes(4)),
    "huger": (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', bytes(4)),
    "far": ({"a": _array([1], [2**62, 2**62 + 4])}, bytes(4)),
    "nan": (b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', bytes(4)),
    "infinity": (b'{"__metadata__":{"a":Infinity}}', b""),
    "half a character": (b'{"__metadata__":{"a":"\\ud800"}}', b""),
    "half a name": (b'{"\\udfff":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', bytes(4)),
    "brackets": (b'{"a":' + b"[[]," * 100_000 + b"[]" + b"]" * 100_000 + b"}", b""),
    "a list of nothing": (b'{"a":[' + b"[]," * 100_000 + b"[]]}", b""),
    "no list": ({"a": _array(3, [0, 4])}, bytes(4)),
    "three offsets": ({"a": _array([1], [0, 4, 4])}, bytes(4)),
    "same place": ({"a": _array([1], [0, 4]), "b": _array([1], [0, 4])}, bytes(4)),
    "no object": (b"[1, 2]", b""),
    "no json": (b"{\"a\": ", b""),
    "no text": (b"{\xff\xff}", b""),
    "deep": (b"[" * 100_000 + b"]" * 100_000, b""),
    "twice": (b'{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},'
              b'"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}', bytes(4)),
    "metadata": ({"__metadata__": {"a": 1}}, b""),
    "no entry": ({"a": 3}, b""),
    "other keys": ({"a": {**_array([1], [0, 4]), "more": 1}}, bytes(4)),
    "negative": ({"a": _array([-1], [0, 4])}, bytes(4)),
    "boolean": ({"a": _array([True], [0, 4])}, bytes(4)),
    "float": ({"a": _array([1.0], [0, 4])}, bytes(4)),
    "shape against bytes": ({"a": _array([2], [0, 4])}, bytes(4)),
    "overflow": ({"a": _array([2**32, 2**32], [0, 0])}, b""),
    "backwards": ({"a": _array([1], [4, 0])}, bytes(4)),
    "overlap": ({"a": _array([2], [0, 8]), "b": _array([2], [4, 12])}, bytes(12)),
    "gap": ({"a": _array([1], [0, 4]), "b": _array([1], [8, 12])}, bytes(12)),
    "cut off": ({"a": _array([4], [0, 16])}, bytes(12)),
    "more": ({"a": _array([1], [0, 4])}, bytes(8)),
    "gigantic": ({"a": _array([2**60], [0, 2**62])}, b""),
}  # fmt: skip


@pytest.mark.parametrize(("header", "body"), LIES.values(), ids=LIES.keys())
def test_headers_that_lie(tmp_path, header, body):
    path = _file(tmp_path / "a.safetensors", header, body)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"not a (whole )?safetensors file"):
        checkpoint.load_arrays(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000 + 20 * path.stat().st_size


def test_lengths_that_lie(tmp_path):
    path = tmp_path / "a.safetensors"
    for content in (b"123", struct.pack("<Q", 2**63), struct.pack("<Q", 10) + b"{}"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cannot hold a header"):
            checkpoint.load_arrays(path)


def test_a_dtype_without_a_name(tmp_path):
    path = _file(tmp_path / "a.safetensors", {"x": _array([1], [0, 4], "F99")}, bytes(4))
    with pytest.raises(ValueError, match="x has dtype 'F99'"):
        checkpoint.load_arrays(path)


def test_many_entries_of_no_size(tmp_path):
    header = {f"x{i}": _array([0], [0, 0]) for i in range(20_000)}
    assert len(checkpoint.load_arrays(_file(tmp_path / "a.safetensors", header))) == 20_000


WHOLE = safetensors.numpy.save(
    {"a": np.arange(5, dtype=np.float32), "b": np.ones((2, 3), np.int16)}, {"note": "text"}
)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_changed_file_is_read_or_refused(tmp_path, position, byte, cut):
    content = bytearray(WHOLE)
    content[position] = byte
    path = tmp_path / "a.safetensors"
    path.write_bytes(bytes(content[: len(content) - cut]))
    try:
        arrays = checkpoint.load_arrays(path)
    except ValueError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= len(WHOLE)


def test_metadata_is_returned(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(WHOLE)
    with path.open("rb") as file:
        entries, metadata = read_header(file, path)
    assert metadata == {"note": "text"}
    assert list(entries) == ["a", "b"]
