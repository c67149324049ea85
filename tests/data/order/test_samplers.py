"""Samplers: what they visit, how evenly, and that (seed, epoch) decides it."""

import numpy as np
import pytest
from scipy import stats

from funcnet import data


def test_random_sampler():
    sampler = data.RandomSampler(range(10))
    assert sorted(sampler) == list(range(10))
    more = np.asarray(data.RandomSampler(range(10), num_samples=25).order(0, 0))
    assert sorted(more[:10]) == sorted(more[10:20]) == list(range(10))
    assert len(set(more[20:].tolist())) == 5
    drawn = np.asarray(data.RandomSampler(range(10), True, 20_000).order(0, 0))
    assert stats.chisquare(np.bincount(drawn, minlength=10)).pvalue > 1e-4


@pytest.mark.parametrize("replacement", [True, False])
def test_weighted_sampler_draws_in_proportion(replacement):
    weights = np.array([1.0, 2.0, 0.0, 5.0])
    sampler = data.WeightedRandomSampler(weights, 20_000 if replacement else 1, replacement)
    if replacement:
        drawn = np.asarray(sampler.order(0, 0))
    else:
        drawn = np.array([sampler.order(0, epoch)[0] for epoch in range(4000)])
    counts = np.bincount(drawn, minlength=4)
    assert counts[2] == 0
    expected = weights[weights > 0] / weights.sum() * len(drawn)
    assert stats.chisquare(counts[weights > 0], expected).pvalue > 1e-4


def test_weighted_sampler_without_replacement_draws_each_once():
    order = data.WeightedRandomSampler([1, 5, 2, 0, 4], 4, replacement=False).order(3, 1)
    assert sorted(order) == [0, 1, 2, 4]


def test_stratified_batches_have_the_classes_of_the_whole(rng):
    labels = rng.choice(["a", "b", "c"], size=1000, p=[0.6, 0.3, 0.1])
    order = np.asarray(data.StratifiedSampler(labels).order(0, 2))
    assert sorted(order) == list(range(1000))
    share = {c: (labels == c).mean() for c in "abc"}
    for start in range(0, 1000 - 50, 50):
        batch = labels[order[start : start + 50]]
        for c in "abc":
            assert abs((batch == c).sum() - 50 * share[c]) <= 1 + 1e-9


def test_bucket_sampler(rng):
    lengths = rng.integers(1, 500, 2000)
    sampler = data.BucketSampler(lengths, 16, pool=50)
    batches = sampler.batches(0, 1)
    assert len(batches) == len(sampler) == 125
    assert sorted(np.concatenate(batches)) == list(range(2000))
    padded = sum(len(b) * lengths[b].max() for b in batches)
    assert padded < 1.05 * lengths.sum()
    longest = [lengths[b].max() for b in batches]
    assert longest != sorted(longest)
    capped = data.BucketSampler(lengths, max_tokens=4000).batches(0, 0)
    assert sorted(np.concatenate(capped)) == list(range(2000))
    assert max(len(b) * lengths[b].max() for b in capped) <= 4000
    full = data.BucketSampler(lengths[:50], 16, drop_last=True).batches(0, 0)
    assert [len(b) for b in full] == [16, 16, 16]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_distributed_sampler_equals_pytorch(drop_last, shuffle):
    pytest.importorskip("torch")
    from torch.utils.data import DistributedSampler

    ours = [
        data.DistributedSampler(range(11), 3, rank, shuffle, drop_last=drop_last)
        for rank in range(3)
    ]
    if not shuffle:
        for rank, sampler in enumerate(ours):
            theirs = DistributedSampler(range(11), 3, rank, shuffle=False, drop_last=drop_last)
            assert list(sampler) == list(theirs)
    seen = [index for sampler in ours for index in sampler]
    assert len(seen) == (9 if drop_last else 12)
    assert len(set(seen)) == (9 if drop_last else 11)


@pytest.mark.parametrize(
    "sampler",
    [
        data.RandomSampler(range(100)),
        data.WeightedRandomSampler(np.arange(100.0), 50),
        data.StratifiedSampler(np.arange(100) % 3),
        data.DistributedSampler(range(100), 2, 1),
    ],
)
def test_seed_and_epoch_decide(sampler):
    orders = [
        np.asarray(sampler.order(s, e)[:]).tolist() for s, e in [(0, 0), (0, 1), (1, 0), (0, 0)]
    ]
    assert orders[0] == orders[3]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    loader = data.DataLoader(np.arange(100), 8, sampler=sampler, seed=1)
    assert np.concatenate(list(loader)).tolist() == orders[2]
    assert len(list(loader)) == len(loader)


def test_batch_samplers_of_all_kinds():
    for batches in (
        [[0, 3], [1], [4, 2, 5]],
        data.BatchSampler(range(6), 4, drop_last=False),
        data.BucketSampler(np.arange(1, 7), 2),
    ):
        loader = data.DataLoader(np.arange(6), batch_sampler=batches)
        seen = list(loader)
        assert len(seen) == len(loader)
        assert sorted(np.concatenate(seen).tolist()) == list(range(6))


def test_a_plain_iterable_is_a_sampler():
    loader = data.DataLoader(np.arange(10) * 2, 2, sampler=[4, 1, 9])
    assert [b.tolist() for b in loader] == [[8, 2], [18]]


@pytest.mark.parametrize("batched", [False, True])
def test_an_index_out_of_range_is_refused(batched):
    given = {"batch_sampler": [[0, 5]]} if batched else {"sampler": [0, 5]}
    with pytest.raises(IndexError, match=r"indices in \[0, 3\); got some from 0 to 5"):
        list(data.DataLoader(np.arange(3), **given))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.WeightedRandomSampler([0.0, 0.0], 1), "enough positive weights"),
        (
            lambda: data.WeightedRandomSampler([1.0, 0.0], 2, False),
            "enough positive weights; got 1",
        ),
        (lambda: data.WeightedRandomSampler([-1.0], 1), "negative"),
        (lambda: data.BucketSampler([1]), "either batch_size or max_tokens"),
        (lambda: data.BucketSampler([9], max_tokens=8), "the longest sample; got 9"),
        (lambda: data.DistributedSampler([1], 2, 2), r"rank must lie in \[0, 2\)"),
        (lambda: data.DataLoader([1], shuffle=True, sampler=[0]), "sampler and shuffle"),
        (lambda: data.DataLoader([1], 2, batch_sampler=[[0]]), "batch_sampler excludes"),
        (lambda: data.DataLoader([1], drop_last=True, pad_last=True), "exclude each other"),
        (lambda: data.DataLoader([1], shard=(2, 2)), "0 <= index < count"),
        (lambda: data.DataLoader([1], 3, shard=(0, 2)), "divisible"),
        (lambda: data.DataLoader([1, 2, 3], 2, shard=(0, 2)), "drop_last=True or pad_last=True"),
        (lambda: data.DataLoader([1], workers="fork"), "workers must be one of"),
        (lambda: data.DataLoader(3), "needs __len__ and __getitem__"),
        (lambda: data.DataLoader(iter([1]), shuffle=True), "takes no shuffle"),
        (lambda: data.DataLoader(data.filter(bool, [1]), sampler=[0]), "a stream has no indices"),
    ],
)
def test_refuses(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
