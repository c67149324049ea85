"""open_arrays tells a file by its content; what it is not, it names, and says what to do."""

import gzip
import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

from funcnet import checkpoint

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(3)}
NAMES = ["a.safetensors", "a.pt", "a.bin", "a.h5", "a.json", "a", "a.keras"]


def same(path):
    stored = checkpoint.open_arrays(path)
    assert stored.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert stored[name].shape == array.shape
        np.testing.assert_array_equal(stored[name].view(), array)
        np.testing.assert_array_equal(stored[name].read(), array)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("written", ["ours", "theirs", "pytorch", "index"])
def test_the_content_tells_not_the_name(tmp_path, name, written):
    source = tmp_path / "source"
    if written == "pytorch":
        checkpoint.save_arrays(tmp_path / "source.pt", ARRAYS).rename(source)
    elif written == "ours":
        checkpoint.save_arrays(source, ARRAYS)
    else:
        safetensors.numpy.save_file(ARRAYS, source)
    if written == "index":
        source.rename(tmp_path / "shard")
        source.write_text(json.dumps({"weight_map": dict.fromkeys(ARRAYS, "shard")}))
    same(shutil.move(source, tmp_path / name))


@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_torch(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
    path = tmp_path / "a.safetensors"
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    same(path)


def test_what_else_a_file_of_torch_holds_does_not_matter_with_a_selection(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    torch.save({"model": {"w": torch.ones(2)}, "net": torch.nn.Linear(2, 2)}, path)
    with pytest.raises(ValueError, match="a whole module"):
        checkpoint.load_arrays(path)
    assert checkpoint.load_arrays(path, select="model.*").keys() == {"model.w"}


# ---- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["model.safetensors", "pytorch_model.bin", "weights.safetensors", "net.pth", "w.pt"]
)
def test_the_one_file_of_a_folder(tmp_path, name):
    checkpoint.save_arrays(tmp_path / name, ARRAYS)
    (tmp_path / "config.json").write_text("{}")
    same(tmp_path)


def test_safetensors_come_before_pickles(tmp_path):
    checkpoint.save_arrays(tmp_path / "model.safetensors", ARRAYS)
    checkpoint.save_arrays(tmp_path / "pytorch_model.bin", {"other": np.ones(1)})
    same(tmp_path)


def test_several_files_and_none(tmp_path):
    with pytest.raises(ValueError, match="holds no file of arrays"):
        checkpoint.open_arrays(tmp_path)
    (tmp_path / "_CHECKPOINT_METADATA").write_text("{}")
    with pytest.raises(ValueError, match="checkpoint of Orbax"):
        checkpoint.open_arrays(tmp_path)
    for name in "ab":
        checkpoint.save_arrays(tmp_path / f"{name}.safetensors", ARRAYS)
    with pytest.raises(ValueError, match=r"give the path of one: a\.safetensors, b\.safetensors"):
        checkpoint.open_arrays(tmp_path)


def test_what_is_not_there(tmp_path):
    for read in (checkpoint.open_arrays, checkpoint.load_arrays, checkpoint.load_metadata):
        with pytest.raises(FileNotFoundError, match="none"):
            read(tmp_path / "none")


# ---- other formats -------------------------------------------------------------------------------


def keras(path, first):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(first, "{}")
        archive.writestr("model.weights.h5", b"\x89HDF")


FOREIGN = {
    "HDF5": (
        lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)),
        "HDF5 file, as Keras writes.*h5py",
    ),
    "keras": (lambda path: keras(path, "metadata.json"), "a model of Keras.*load it in Keras"),
    "keras2": (lambda path: keras(path, "config.json"), "a model of Keras.*load it in Keras"),
    "npz": (lambda path: np.savez(path.open("wb"), **ARRAYS), r"NumPy arrays \(\.npz\).*np\.load"),
    "npy": (
        lambda path: np.save(path.open("wb"), ARRAYS["b"]),
        r"a NumPy array \(\.npy\).*np\.load",
    ),
    "gguf": (
        lambda path: path.write_bytes(b"GGUF\3\0\0\0" + bytes(99)),
        "GGUF file of llama.cpp.*safetensors",
    ),
    "msgpack": (
        lambda path: path.write_bytes(b"\x81\xa6params\x81\xa1w\xc4\x01a"),
        "msgpack, as Flax",
    ),
    "wide msgpack": (
        lambda path: path.write_bytes(b"\xde\0\x20\xa6params\x81\xa1w"),
        "msgpack, as Flax",
    ),
    "onnx": (
        lambda path: path.write_bytes(b"\x08\x0a\x12\x07pytorch\x1a\x052.1.0:\x10"),
        "an ONNX model",
    ),
    "lfs": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        "git lfs pull",
    ),
    "page": (lambda path: path.write_text("<!DOCTYPE html><html>"), "a web page"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"a")), "compressed with gzip: unpack it"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "pickle": (lambda path: path.write_bytes(b"\x80\x04}\x94."), "no file of torch.save"),
    "other zip": (lambda path: keras(path, "readme.txt"), "FOLDER/data.pkl"),
    "json": (
        lambda path: path.write_text('{"hidden_size": 3}'),
        "no index of shards: it has no weight_map",
    ),
    "text": (lambda path: path.write_text("weights of a model"), "not a safetensors file"),
    "noise": (lambda path: path.write_bytes(bytes(range(200))), "not a safetensors file"),
}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize(("make", "words"), FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_other_formats_are_named(tmp_path, make, words, name):
    path = tmp_path / name
    make(path)
    for read in (checkpoint.open_arrays, checkpoint.load_arrays, checkpoint.load_metadata):
        with pytest.raises(ValueError, match=rf"(?s){name}.*{words}"):
            read(path)


def test_torchscript_is_named(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(ValueError, match=r"a\.pt.*TorchScript.*state_dict"):
        checkpoint.open_arrays(path)


@pytest.mark.parametrize("size", range(0, 40, 3))
def test_beginnings_of_files(tmp_path, size):
    heads = [
        b"\x08",
        b"\x81",
        b"\xde",
        b"PK\3\4",
        b"\x80\2",
        b"{",
        b" {",
        b"\x08\x0a\x12",
        b"\x10" + bytes(7) + b"{",
    ]
    for head in heads:
        (tmp_path / "start").write_bytes(head + bytes(size))
        with pytest.raises(ValueError, match="start"):
            checkpoint.load_arrays(tmp_path / "start")
