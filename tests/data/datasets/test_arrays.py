"""ArrayDataset: trees of arrays, gathered a batch at a time."""

import collections
import pickle

import numpy as np
import pytest

from funcnet import data

Pair = collections.namedtuple("Pair", ["x", "y"])


@pytest.fixture
def arrays(rng):
    return {"image": rng.integers(0, 255, (50, 4, 3), dtype=np.uint8), "label": np.arange(50)}


def test_sample_and_slice_keep_the_tree(arrays):
    dataset = data.ArrayDataset({"nested": [arrays, (arrays["label"],)]})
    sample = dataset[7]
    assert sample["nested"][0]["label"] == 7
    assert sample["nested"][1] == (7,)
    np.testing.assert_array_equal(dataset[-1]["nested"][0]["image"], arrays["image"][-1])
    np.testing.assert_array_equal(dataset[3:6]["nested"][1][0], [3, 4, 5])


@pytest.mark.parametrize("tree", [lambda a: a["image"], lambda a: Pair(a["image"], a["label"])])
def test_gather_equals_indexing(arrays, tree, rng):
    dataset = data.ArrayDataset(tree(arrays))
    indices = rng.integers(0, 50, 16)
    batch = dataset.gather(indices)
    if isinstance(batch, Pair):
        np.testing.assert_array_equal(batch.y, indices)
        batch = batch.x
    np.testing.assert_array_equal(batch, arrays["image"][indices])
    assert batch.ctypes.data % 64 == 0


def test_gather_of_an_array_with_gaps_and_of_a_memory_map(tmp_path, rng):
    values = rng.normal(size=(40, 6)).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    mapped = data.ArrayDataset.load(tmp_path / "values.npy")
    assert isinstance(mapped.arrays.base, np.memmap)
    gaps = data.ArrayDataset(np.repeat(values, 2, axis=1)[:, ::2])
    indices = rng.permutation(40)[:9]
    for dataset in (mapped, gaps):
        np.testing.assert_array_equal(dataset.gather(indices), values[indices])


def test_load_npz(tmp_path, arrays):
    np.savez(tmp_path / "both.npz", **arrays)
    dataset = data.ArrayDataset.load(tmp_path / "both.npz")
    assert len(dataset) == 50
    assert set(dataset[0]) == {"image", "label"}


def test_pickles(arrays):
    dataset = data.ArrayDataset(arrays)
    dataset.gather(np.arange(3))
    other = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(other[4]["image"], arrays["image"][4])
    assert repr(other) == "ArrayDataset(50 samples of image: uint8[4, 3], label: int64[])"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "at least one array"),
        ({"a": np.ones(3), "b": np.ones(4)}, r"one length; got \{'a': 3, 'b': 4\}"),
        ([1.0, 2.0], r"scalar at 0. Lists are containers"),
        (np.array(["a", None]), "Python objects"),
    ],
)
def test_refuses(tree, message):
    with pytest.raises(ValueError, match=message):
        data.ArrayDataset(tree)
