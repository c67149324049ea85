"""An index is an integer, wherever one is given."""

import numpy as np
import pytest

from funcnet import data

ROWS = np.arange(6) * 10
MASK = np.array([True, False, True, False, False, True])
FLOATS = np.array([1.0, 2.5])
ARRAYS = data.ArrayDataset(ROWS)


class Given(data.Sampler):
    def __init__(self, indices):
        self.indices = indices

    def order(self, seed, epoch):
        return self.indices


class Lists:
    def __init__(self, indices):
        self.indices = indices

    def __iter__(self):
        return iter([self.indices])


USES = {
    "Subset": lambda i: data.Subset(ROWS, i),
    "gather": lambda i: ARRAYS.gather(np.asarray(i)),
    "gather of a subset": lambda i: data.Subset(ARRAYS, range(6)).gather(np.asarray(i)),
    "sampler": lambda i: list(data.DataLoader(ROWS, 2, sampler=i)),
    "own sampler": lambda i: list(data.DataLoader(ROWS, 2, sampler=Given(i))),
    "batch sampler": lambda i: list(data.DataLoader(ROWS, batch_sampler=Lists(i))),
    "batches of a sampler": lambda i: list(
        data.DataLoader(ROWS, batch_sampler=data.BatchSampler(i, 2, False))
    ),
    "Permutation": lambda i: data.Permutation(6)[i],
    "long Permutation": lambda i: data.Permutation(5000)[i],
    "WeightedRandomSampler": lambda i: data.WeightedRandomSampler(np.ones(6), 6).order(0, 0)[i],
}


@pytest.mark.parametrize("wrong", [MASK, MASK.tolist(), FLOATS, FLOATS.tolist(), ["a", "b"]])
@pytest.mark.parametrize("use", USES)
def test_masks_fractions_and_text_are_no_indices(use, wrong):
    with pytest.raises(TypeError, match=r"integers as indices; got (bool|float64|<U1)"):
        USES[use](wrong)
    USES[use](np.array([5, 0], np.uint64))
    USES[use]([3, 2])


def test_a_mask_says_what_to_write():
    with pytest.raises(TypeError, match=r"take np\.flatnonzero\(mask\)"):
        data.Subset(ROWS, MASK)
    assert len(data.Subset(ROWS, [])) == 0
    assert ARRAYS[MASK].tolist() == [0, 20, 50]  # as with NumPy: a mask of the whole length
    with pytest.raises(ValueError, match="one-dimensional"):
        data.Subset(ROWS, [[1, 2]])


def datasets(tmp_path):
    (tmp_path / "a.txt").write_text("a\nb\nc")
    data.write_tokens(tmp_path / "t", [range(9)])
    yield data.LineFile(tmp_path / "a.txt")
    yield data.TokenFile(tmp_path / "t", 3)
    yield data.map(lambda x: x, ROWS[:3])
    yield data.Subset(ROWS, [0, 1, 2])
    yield data.ConcatDataset([ROWS[:3]])
    yield data.zip(ROWS[:3])
    yield data.mix([ROWS[:3]])
    yield data.window(ROWS[:3], 1)
    yield data.cache(ROWS[:3])


def test_one_index_is_an_integer_too(tmp_path):
    for dataset in datasets(tmp_path):
        for wrong in (True, np.True_, 1.0, np.float64(1), "1", None):
            with pytest.raises(TypeError, match="an index is an integer"):
                dataset[wrong]
        for beyond in (3, -4):
            with pytest.raises(IndexError, match=f"index {beyond} is out of range"):
                dataset[beyond]
        assert np.array_equal(dataset[-1], dataset[np.uint8(2)])
    with pytest.raises(TypeError, match="an index is an integer"):
        ARRAYS[True]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_weights_must_be_numbers_from_nought_on(bad):
    with pytest.raises(ValueError, match=r"weights must .* got (nan|inf|-1.0)"):
        data.WeightedRandomSampler([1.0, bad, 2.0], 2)
    with pytest.raises(ValueError, match=r"lengths must"):
        data.BucketSampler([1.0, bad], 2)
    with pytest.raises(ValueError, match="one number for each sample"):
        data.WeightedRandomSampler(np.ones((2, 2)), 2)


def test_weighted_draws_at_the_edges():
    huge = data.WeightedRandomSampler([1e308, 1e308, 0.0], 1000)
    assert set(np.asarray(huge.order(0, 0)[:]).tolist()) == {0, 1}
    tiny = data.WeightedRandomSampler([0.0, 5e-324, 1.0], 2, replacement=False)
    assert sorted(tiny.order(0, 0).tolist()) == [1, 2]
    many = data.WeightedRandomSampler(np.ones(300_000), 300_000).order(1, 2)
    whole = many[:]
    np.testing.assert_array_equal(many[131_070:131_080], whole[131_070:131_080])
    assert whole.max() < 300_000
    assert abs(len(np.unique(whole)) / 300_000 - (1 - np.exp(-1))) < 0.01


def test_weighted_draws_from_millions_begin_at_once(monkeypatch):
    """Only the blocks that are read are drawn: counted, as time depends on the machine."""
    from funcnet.data.order.drawn import DrawnOrder

    drawn = []
    draw = DrawnOrder._draw
    monkeypatch.setattr(DrawnOrder, "_draw", lambda self, k: drawn.append(k) or draw(self, k))
    order = data.WeightedRandomSampler(np.ones(2**21), 2**21).order(0, 0)
    for start in range(0, 4096, 64):
        order[start : start + 64]
    assert drawn == [0]
