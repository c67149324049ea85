"""Safetensors files of ours: every dtype both ways, every flipped bit refused, what cannot be written named."""

import errno
import os
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import funcnet as fn
from funcnet import checkpoint
from funcnet.core import files
from funcnet.core.safetensors_format import DTYPES

SHAPES = [(), (0,), (3,), (2, 0, 3), (2, 3)]


def arrays_of(dtype, rng):
    """Arrays of every shape, of every bit pattern."""
    return {
        f"{dtype}{shape}": rng.integers(0, 2 if dtype == np.bool_ else 256, (*shape, dtype.itemsize), np.uint8)
        .view(dtype)
        .reshape(shape)
        for shape in SHAPES
    }  # fmt: skip


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape)
        assert array.tobytes() == theirs[name].tobytes()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_dtype_goes_both_ways(tmp_path, rng, dtype):
    arrays = arrays_of(dtype, rng)
    path = checkpoint.save_arrays(tmp_path / "ours", arrays, {"note": "é"})
    assert_same(checkpoint.load_arrays(path), arrays)
    read = dict(safetensors.deserialize(path.read_bytes()))  # its NumPy reader knows no float8
    assert {name: DTYPES[entry["dtype"]] for name, entry in read.items()} == dict.fromkeys(
        arrays, dtype
    )
    assert {
        name: (tuple(entry["shape"]), bytes(entry["data"])) for name, entry in read.items()
    } == {name: (array.shape, array.tobytes()) for name, array in arrays.items()}
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata().items() >= {"note": "é", "format": "pt"}.items()
    safetensors.numpy.save_file(arrays, tmp_path / "theirs", {"note": "é"})
    assert_same(checkpoint.load_arrays(tmp_path / "theirs"), arrays)
    assert checkpoint.load_metadata(tmp_path / "theirs") == {"note": "é"}


def test_all_dtypes_in_one_file_lie_aligned(tmp_path, rng):
    arrays = {k: v for dtype in DTYPES.values() for k, v in arrays_of(dtype, rng).items()}
    stored = checkpoint.open_arrays(checkpoint.save_arrays(tmp_path / "a", arrays))
    assert len(stored) == len(arrays) == len(list(stored))
    for name, array in arrays.items():
        assert stored[name].view().flags.aligned
        assert not stored[name].view().flags.writeable or not array.size
        assert stored[name].nbytes == array.nbytes
    assert "x" not in stored


def test_big_endian_and_strided_arrays(tmp_path):
    whole = np.arange(24, dtype=">f4").reshape(4, 6)
    arrays = {"big": whole, "columns": whole[:, ::2], "turned": whole.T, "back": whole[::-1]}
    back = checkpoint.load_arrays(checkpoint.save_arrays(tmp_path / "a", arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype.isnative


def test_a_slice_reads_a_part(tmp_path, rng):
    array = rng.standard_normal((100, 7))
    stored = checkpoint.open_arrays(checkpoint.save_arrays(tmp_path / "a", {"x": array}))["x"]
    np.testing.assert_array_equal(stored.view()[40:50, 3], array[40:50, 3])
    with pytest.raises(ValueError, match="read-only"):
        stored.view()[0] = 1


def test_an_open_file_outlives_its_replacement(tmp_path):
    path = checkpoint.save_arrays(tmp_path / "a", {"x": np.zeros(9)})
    stored = checkpoint.open_arrays(path)
    checkpoint.save_arrays(path, {"x": np.ones(9)})
    np.testing.assert_array_equal(stored["x"].read(), np.zeros(9))
    np.testing.assert_array_equal(checkpoint.load_arrays(path)["x"], np.ones(9))


# ---- damage --------------------------------------------------------------------------------------


def test_every_flipped_bit_is_refused(tmp_path):
    arrays = {
        "é.w": np.arange(3, dtype=np.float32),
        "n": np.arange(3, dtype=np.int8),
        "z": np.ones((0, 2)),
    }
    path = checkpoint.save_arrays(tmp_path / "a.safetensors", arrays, {"epoch": "3"})
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.safetensors"):
            checkpoint.load_arrays(path)


def test_every_shorter_file_is_refused(tmp_path):
    path = checkpoint.save_arrays(tmp_path / "a.safetensors", {"x": np.arange(5)})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a\.safetensors"):
            checkpoint.load_arrays(path)


def test_exchanged_arrays_and_edited_notes_are_refused(tmp_path):
    path = checkpoint.save_arrays(
        tmp_path / "a", {"x": np.zeros(4), "y": np.ones(4)}, {"lr": "1e-3"}
    )
    whole = path.read_bytes()
    for old, new in (
        (b'"x"', b'"w"'),
        (b"1e-3", b"1e-4"),
        (whole[-64:], whole[-32:] + whole[-64:-32]),
    ):
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(ValueError, match="is damaged"):
            checkpoint.load_arrays(path)


# ---- what cannot be written ----------------------------------------------------------------------

BAD = {
    "text": (np.array("a"), TypeError, "array of text"),
    "bytes": (np.array(b"a"), TypeError, "array of text"),
    "objects": (np.array([None, {}]), TypeError, "array of objects"),
    "list": ([1.0, 2.0], TypeError, "no array but list"),
    "none": (None, TypeError, "no array but NoneType"),
    "number": (1.0, TypeError, "no array but float"),
    "dict": ({"weight": np.ones(2)}, TypeError, "no array but dict: names in a file are dotted"),
    "key": (jax.eval_shape(lambda: jax.random.key(0)), TypeError, "random key"),
    "complex128": (np.ones(2, np.complex128), TypeError, "dtype complex128"),
    "int4": (jnp.ones(2, jnp.int4), TypeError, "dtype int4"),
    "record": (np.zeros(2, [("a", "f4")]), TypeError, "which safetensors files cannot hold"),
    "date": (np.array("2020", "M8[D]"), TypeError, "which safetensors files cannot hold"),
}


@pytest.mark.parametrize(("value", "error", "words"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_bad_arrays_are_named(tmp_path, value, error, words, ending):
    if ending == "pt" and "dtype" in words:
        pytest.skip("PyTorch has some of these dtypes")
    with pytest.raises(error, match=r"layers\.0\.weight") as caught:
        checkpoint.save_arrays(
            tmp_path / f"a.{ending}", {"ok": np.ones(2), "layers.0.weight": value}
        )
    assert ending == "pt" or words in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_saving_within_jit(tmp_path):
    @jax.jit
    def step(x):
        checkpoint.save_arrays(tmp_path / "a", {"layers.x": x})
        return x

    with pytest.raises(TypeError, match=r"layers\.x is being traced"):
        step(jnp.ones(2))


def test_a_donated_array(tmp_path):
    array = jnp.ones(2)
    array.delete()
    with pytest.raises(ValueError, match="layers was donated"):
        checkpoint.save_arrays(tmp_path / "a", {"layers": array})


def test_no_names(tmp_path):
    run = SimpleNamespace(params={})
    for value in (run, [np.ones(2)], np.ones(2)):
        with pytest.raises(
            TypeError, match=r"expected a dict of names to arrays.*checkpoint\.save"
        ):
            checkpoint.save_arrays(tmp_path / "a", value)


def test_notes_that_are_no_text(tmp_path):
    for notes in ({"epoch": 3}, {3: "a"}, ["a"]):
        with pytest.raises(TypeError, match="metadata is text by name"):
            checkpoint.save_arrays(tmp_path / "a", {}, notes)
    with pytest.raises(ValueError, match="no place for it"):
        checkpoint.save_arrays(tmp_path / "a.pt", {}, {"epoch": "3"})


@pytest.mark.parametrize("name", [3, None, ("a",), b"a"])
def test_names_that_are_no_text(tmp_path, name):
    with pytest.raises(TypeError, match="is no text"):
        checkpoint.save_arrays(tmp_path / "a", {name: np.ones(2)})


def test_names_of_all_kinds(tmp_path):
    names = [
        "",
        " ",
        "a/b",
        '"',
        "\\",
        "\n",
        "日本",
        "é" * 1000,
        "🙂",
        "{",
        "[[[[[[[[[[[[[[" * 9,
        "dtype",
    ]
    arrays = {name: np.full(1, i) for i, name in enumerate(names)}
    path = checkpoint.save_arrays(tmp_path / "a", arrays)
    assert_same(checkpoint.load_arrays(path), arrays)
    assert_same(safetensors.numpy.load_file(path), arrays)
    for name in ("__metadata__", "\ud800"):
        with pytest.raises(ValueError, match=r"cannot be called|half of a character"):
            checkpoint.save_arrays(path, {name: np.ones(2)})


def test_notes_that_look_like_an_array(tmp_path):
    notes = {"dtype": "a", "shape": "b", "data_offsets": "c"}
    safetensors.numpy.save_file({"x": np.ones(2)}, tmp_path / "a", notes)
    assert checkpoint.load_metadata(tmp_path / "a") == notes


def test_sums_of_another_file_are_not_kept(tmp_path):
    path = checkpoint.save_arrays(tmp_path / "a", {"x": np.ones(2)})
    with safetensors.safe_open(path, "np") as file:
        notes = file.metadata()
    again = checkpoint.save_arrays(tmp_path / "b", {"y": np.ones(3)}, notes)
    assert checkpoint.load_arrays(again).keys() == {"y"}


def test_tensors_of_torch(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {"b": torch.ones(2, dtype=torch.bfloat16), "f": torch.arange(6.0).reshape(2, 3).T}
    for ending in ("safetensors", "pt"):
        back = checkpoint.load_arrays(checkpoint.save_arrays(tmp_path / f"a.{ending}", tensors))
        assert back["b"].dtype == jnp.bfloat16
        np.testing.assert_array_equal(back["f"], tensors["f"].numpy())


# ---- the place -----------------------------------------------------------------------------------


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "deep").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "deep" / "a")
    for value in (1, 2):  # the file is new, then replaced
        assert checkpoint.save_arrays(link, {"x": np.full(2, value)}) == link
        assert link.is_symlink()
        assert checkpoint.load_arrays(tmp_path / "deep" / "a")["x"].tolist() == [value, value]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder: .*model\.safetensors"):
        checkpoint.save_arrays(tmp_path, {})


@pytest.mark.parametrize("call", ["fsync", "write", "replace"])
@pytest.mark.parametrize("ending", ["safetensors", "pt", "shards"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, call, ending):
    path = tmp_path / f"a.{ending if ending == 'pt' else 'safetensors'}"
    several = {"shard_bytes": 80} if ending == "shards" else {}
    saved = checkpoint.save_arrays(path, {"x": np.zeros(9), "y": np.zeros(9)}, **several)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(files.os, "fsync", full)
        elif call == "replace":
            patch.setattr(files.Path, "replace", full)
        else:
            opened = os.fdopen
            patch.setattr(files.os, "fdopen", lambda *args: _Full(opened(*args)))
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save_arrays(path, {"x": np.ones(9), "y": np.ones(9)}, **several)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert not checkpoint.load_arrays(saved)["y"].any()


class _Full:
    """A file on a disk that is full."""

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    path = checkpoint.save_arrays(tmp_path / "a", {"x": np.zeros(2)})

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    # tests may run as root, whom no folder refuses
    monkeypatch.setattr(files.tempfile, "mkstemp", refused)
    with pytest.raises(PermissionError):
        checkpoint.save_arrays(path, {"x": np.ones(2)})
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert not checkpoint.load_arrays(path)["x"].any()


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    arrays = {"x": np.arange(3), "y": jnp.ones((2, 2))}
    one, two = (checkpoint.save_arrays(tmp_path / name, arrays) for name in "ab")
    assert one.read_bytes() == two.read_bytes()


# ---- reading a part ------------------------------------------------------------------------------


def test_select_and_dtype(tmp_path):
    arrays = {
        "a.w": np.ones(2),
        "a.n": np.arange(2),
        "b.w": np.ones(2, np.complex64),
        "b.b": np.array([True]),
    }
    for ending in ("safetensors", "pt"):
        path = checkpoint.save_arrays(tmp_path / f"f.{ending}", arrays)
        assert checkpoint.load_arrays(path, select="a.*").keys() == {"a.w", "a.n"}
        assert checkpoint.load_arrays(path, select=["*.b", "a.n"]).keys() == {"b.b", "a.n"}
        back = checkpoint.load_arrays(path, dtype=jnp.bfloat16)
        assert {name: str(array.dtype) for name, array in back.items()} == {
            "a.w": "bfloat16", "a.n": "int64", "b.w": "complex64", "b.b": "bool"
        }  # fmt: skip
        with pytest.raises(ValueError, match=r"c\.w.*matches no"):
            checkpoint.load_arrays(path, select=["a.*", "c.w"])
        for dtype in (np.int32, "complex64", bool):
            with pytest.raises(TypeError, match="no floating-point dtype"):
                checkpoint.load_arrays(path, dtype=dtype)


def test_a_pattern_without_a_match_shows_names_like_it(tmp_path):
    names = [f"encoder.layers.{i}.{part}" for i in range(300) for part in ("weight", "bias")]
    path = checkpoint.save_arrays(tmp_path / "a", {name: np.zeros(0) for name in names})
    with pytest.raises(ValueError, match=r"there are: .*encoder\.layers\.7\.weight.*600 in all"):
        checkpoint.load_arrays(path, select="encoder.layer.7.weight")


def test_fn_is_what_is_documented():
    assert fn.checkpoint.open_arrays is checkpoint.open_arrays
