"""The embedded data, and IDX files in every shape they come in."""

import gzip
import struct

import numpy as np
import pytest

from funcnet import data


def idx(array, code=8):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.tobytes()


def write_mnist(folder, separator="-", gzipped=False, train=6, test=4):
    folder.mkdir(exist_ok=True)
    images = {}
    for split, count in (("train", train), ("t10k", test)):
        images[split] = np.arange(count * 784, dtype=np.uint32).astype(np.uint8).reshape(-1, 28, 28)
        for kind, axes, array in (
            ("images", 3, images[split]),
            ("labels", 1, np.arange(count, dtype=np.uint8)),
        ):
            content = idx(array)
            name = f"{split}-{kind}{separator}idx{axes}-ubyte" + (".gz" if gzipped else "")
            (folder / name).write_bytes(gzip.compress(content) if gzipped else content)
    return images


def test_embedded_digits():
    train, test = data.mnist()
    for dataset, count in ((train, 5000), (test, 1000)):
        image, label = dataset.arrays["image"], dataset.arrays["label"]
        assert image.shape == (count, 28, 28)
        assert image.dtype == np.uint8
        assert label.dtype == np.int32
        assert np.bincount(label).tolist() == [count // 10] * 10
    assert not (train.arrays["image"][:1000] == test.arrays["image"]).all((1, 2)).any()


def test_embedded_text():
    text = data.shakespeare()
    assert len(text) > 1_000_000
    assert text.isascii()
    assert "To be, or not to be" in text or "Romeo" in text


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("gzipped", [False, True])
def test_mnist_folder(tmp_path, separator, gzipped):
    images = write_mnist(tmp_path / "m", separator, gzipped)
    train, test = data.mnist(tmp_path / "m")
    np.testing.assert_array_equal(train.arrays["image"], images["train"])
    np.testing.assert_array_equal(test.arrays["image"], images["t10k"])
    assert test[3]["label"] == 3


@pytest.mark.parametrize("dtype", ["u1", "i1", ">i2", ">i4", ">f4", ">f8"])
def test_idx_types(tmp_path, dtype):
    code = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}[dtype]
    array = np.arange(6).reshape(2, 3).astype(dtype)
    (tmp_path / "a").write_bytes(idx(array, code))
    read = data.read_idx(tmp_path / "a")
    np.testing.assert_array_equal(read, array)
    assert read.dtype.isnative
    assert read.flags.writeable


def test_missing_file_lists_the_names(tmp_path):
    write_mnist(tmp_path / "m")
    (tmp_path / "m" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"no t10k labels.*t10k-labels\.idx1-ubyte\.gz"):
        data.mnist(tmp_path / "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"PK\x03\x04 an archive", "not an IDX file.*got the bytes"),
        (b"\0\0\x08\x03\0\0", "truncated: its header has 16 bytes, the file 6"),
        (idx(np.zeros(9, np.uint8))[:-1], "truncated.*needs 17 bytes; the file has 16"),
        (idx(np.zeros(9, np.uint8)) + b"x", "too long"),
        (gzip.compress(idx(np.zeros(9, np.uint8)), mtime=0)[:-9], "gzip"),
    ],
    ids=["empty", "foreign", "no header", "short", "long", "short gzip"],
)
def test_damaged_files(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        data.read_idx(tmp_path / "file")


def test_images_and_labels_must_agree(tmp_path):
    write_mnist(tmp_path / "m")
    (tmp_path / "m" / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5, np.uint8)))
    with pytest.raises(ValueError, match=r"got \(6, 28, 28\) and \(5,\)"):
        data.mnist(tmp_path / "m")
