"""Datasets made of datasets, and the functions over them."""

import pickle

import numpy as np
import pytest

from funcnet import data
from funcnet.data.datasets.base import dataset_name
from funcnet.data.order.sample_rng import SampleRng


@pytest.fixture
def arrays():
    return data.ArrayDataset({"x": np.arange(20) * 10, "i": np.arange(20)})


def test_subset_gathers(arrays):
    part = data.Subset(data.Subset(arrays, [5, -1, 7, 8]), [3, 1])
    assert [int(sample["i"]) for sample in part] == [8, 19]
    assert part.gather(np.array([1, 0]))["x"].tolist() == [190, 80]
    assert data.Subset([1, 2], [0]).gather is None
    assert next(iter(data.DataLoader(part, 2)))["i"].tolist() == [8, 19]


def test_concat_and_stack(arrays):
    both = data.ConcatDataset([[{"x": -1, "i": -1}], arrays])
    assert len(both) == 21
    assert [int(both[k]["i"]) for k in (0, 1, 20, -1)] == [-1, 0, 19, 19]
    stacked = data.StackDataset(a=arrays, b=range(20))
    assert stacked[4]["b"] == 4
    assert int(stacked[4]["a"]["x"]) == 40
    assert data.StackDataset("ab", "cd")[1] == ("b", "d")


def test_out_of_range_ends_iteration(arrays):
    assert len(list(data.map(lambda s: s, arrays))) == 20
    with pytest.raises(IndexError, match=r"index 20 is out of range for map\(.*ArrayDataset"):
        data.map(lambda s: s, arrays)[20]


@pytest.mark.parametrize(
    ("lengths", "sizes"),
    [
        ([15, 5], [15, 5]),
        ([0.8, 0.2], [16, 4]),
        ([1 / 3] * 3, [7, 7, 6]),
        ([20], [20]),
        ([1.0], [20]),
        ([1.0, 0.0], [20, 0]),
        ([np.float32(1), 0], [20, 0]),
    ],
)
def test_random_split(arrays, lengths, sizes):
    with pytest.raises(ValueError, match="add up to 20"):
        data.random_split(arrays, [1, 0])  # whole numbers are numbers of samples
    parts = data.random_split(arrays, lengths, seed=1)
    assert [len(part) for part in parts] == sizes
    seen = sorted(int(sample["i"]) for part in parts for sample in part)
    assert seen == list(range(20))
    again = data.random_split(arrays, lengths, seed=1)
    assert [part.indices.tolist() for part in parts] == [part.indices.tolist() for part in again]


def test_mix_keeps_proportions_at_every_length():
    weights = np.array([5.0, 3.0, 2.0])
    mixed = data.mix([[k] * 400 for k in range(3)], weights.tolist(), stop="longest")
    seen = np.array(list(mixed))
    for length in range(1, len(seen), 7):
        counts = np.bincount(seen[:length], minlength=3)
        assert (np.abs(counts - length * weights / 10) < 2).all()
    assert mixed.shares.counts(500) == np.bincount(seen[:500]).tolist()


def test_mix_reads_every_sample_before_one_twice():
    mixed = data.mix([range(10), range(100, 104)], seed=3, stop="longest")
    first = [x for x in mixed if x < 100]
    second = [x for x in mixed if x >= 100]
    assert sorted(first) == list(range(10))
    assert sorted(second[:4]) == sorted(second[4:8]) == [100, 101, 102, 103]
    assert second[:4] != second[4:8]


@pytest.mark.parametrize("weights", [[1, 1], [3, 1], [1, 7], [0.3, 0.7]])
def test_mix_ends_with_the_shortest(weights):
    mixed = data.mix([range(30), range(30, 75)], weights)
    seen = list(mixed)
    assert len(set(seen)) == len(seen)
    assert max(len([x for x in seen if x < 30]) / 30, len([x for x in seen if x >= 30]) / 45) > 0.9


def test_window():
    windows = data.window(np.arange(10), 4, stride=3)
    assert len(windows) == 3
    assert windows[-1].tolist() == [6, 7, 8, 9]
    assert len(data.window(range(3), 4)) == 0
    assert data.window([{"t": k} for k in range(4)], 2)[1]["t"].tolist() == [2, 3]


def test_cache_reads_once_and_keeps_what_it_read(rng):
    reads = []

    def slow(index, rng):
        reads.append(index)
        return {"x": np.array([index, rng.integers(100)])}

    cached = data.cache(data.map(slow, range(4)), capacity=3)
    loader = data.DataLoader(cached, 4)
    first, second = (next(iter(loader))["x"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert sorted(reads) == [0, 1, 2, 3, 3]  # the fourth found no room
    sample = cached[1]
    sample["x"][:] = -1
    assert cached[1]["x"][0] == 1
    assert len(pickle.loads(pickle.dumps(data.cache([1, 2])))) == 2


def test_randomness_depends_on_seed_epoch_and_index_alone():
    dataset = data.map(lambda x, rng: rng.integers(1 << 30), range(6))

    def epoch(seed, number, **more):
        loader = data.DataLoader(dataset, 3, seed=seed, epoch=number, **more)
        return np.concatenate(list(loader)).tolist()

    assert epoch(0, 0) == epoch(0, 0)
    assert len({tuple(epoch(seed, number)) for seed in (0, 1) for number in (0, 1)}) == 4
    assert sorted(epoch(0, 0)) == sorted(epoch(0, 0, shuffle=True))
    assert epoch(0, 0)[2] == SampleRng(0, 0, 2).generator.integers(1 << 30)


def test_transforms_of_a_sample_share_one_generator():
    twice = data.map(
        lambda x, rng: (x, rng.random()), data.map(lambda x, rng: x + rng.random(), [0.0])
    )
    first, second = twice[0]
    assert first != second
    rng = SampleRng(0, 0, 0).generator
    assert (first, second) == (rng.random(), rng.random())


def test_the_name_of_a_dataset_is_short():
    assert dataset_name(data.map(len, [1] * 10**6)) == "map(len, list of length 1000000)"
    assert len(dataset_name(data.ConcatDataset([[1]] * 1000))) <= 300


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.Subset([1, 2], [2]), r"indices in \[-2, 2\); got 2 to 2"),
        (lambda: data.ConcatDataset([]), "at least one"),
        (lambda: data.StackDataset([1], [1, 2]), r"one length; got \[1, 2\]"),
        (lambda: data.StackDataset(), "by position or by name"),
        (lambda: data.zip(), "at least one"),
        (lambda: data.mix([[1]], [1, 2]), "1 datasets and 2 weights"),
        (lambda: data.mix([[1]], [0]), "greater than zero"),
        (lambda: data.mix([[1], []]), "lengths"),
        (lambda: data.mix([[1]], stop="first"), "stop must be one of"),
        (lambda: data.mix([iter([1])], seed=1), "takes no seed"),
        (lambda: data.window([1], 0), "size"),
        (lambda: data.map(3, [1]), "function of a sample; got 3"),
        (lambda: data.random_split([1, 2], [1, 2]), "add up to 2"),
    ],
)
def test_refuses(make, message):
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        make()


class CallableDataset:
    """A dataset that can also be called."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return index

    def __call__(self, sample):
        return -sample


@pytest.mark.parametrize("name", ["map", "filter", "flat_map"])
@pytest.mark.parametrize("dataset", [[1, 2], CallableDataset(), iter([1]), data.map(abs, [1])])
@pytest.mark.parametrize(
    "function", [abs, list, lambda x: x, np.negative, CallableDataset().__call__]
)
def test_the_dataset_first_is_refused(name, dataset, function):
    with pytest.raises(TypeError, match=rf"write data\.{name}\(function, dataset\); the first"):
        getattr(data, name)(dataset, function)


def test_what_is_callable_and_a_dataset_may_stand_in_either_place():
    assert list(data.map(CallableDataset(), CallableDataset())) == [0, -1]
    assert list(data.map(CallableDataset(), [3])) == [-3]
    assert list(data.filter(list, [[], [1]])) == [[1]]


def test_concatenation_goes_by_names_and_loses_no_value():
    one = data.ArrayDataset({"x": np.arange(3), "y": np.arange(3, dtype=np.float32)})
    two = data.ArrayDataset({"y": np.arange(3) + 0.5, "x": np.arange(3, dtype=np.int8) + 10})
    loader = data.DataLoader(data.ConcatDataset([one, two]), 2)
    batches = list(loader)
    assert [batch["x"].tolist() for batch in batches] == [[0, 1], [2, 10], [11, 12]]
    assert [batch["y"].tolist() for batch in batches] == [[0, 1], [2, 0.5], [1.5, 2.5]]
    # One dtype for all, whatever lies in a batch: nothing is compiled anew.
    assert {(b["x"].dtype.name, b["y"].dtype.name) for b in batches} == {("int64", "float64")}


def test_concatenation_of_what_is_not_alike():
    parts = [data.ArrayDataset({"x": np.ones((2, 3))}), data.ArrayDataset({"z": np.ones((2, 3))})]
    batches = iter(data.DataLoader(data.ConcatDataset(parts), 2))
    assert [list(batch) for batch in batches] == [["x"], ["z"]]
    with pytest.raises(ValueError, match="one structure"):
        list(data.DataLoader(data.ConcatDataset(parts), 4))
