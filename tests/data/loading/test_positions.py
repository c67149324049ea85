"""What a saved position is a position of, and what may and may not go on from it."""

import itertools

import numpy as np
import pytest

from funcnet import data

N = 24


class Lines(data.IterableDataset):
    def __init__(self, length=N):
        self.length = length

    def __iter__(self):
        return iter(range(self.length))


class Foreign:
    """An order that is the same whenever it is iterated, and has no length."""

    def __init__(self, step):
        self.step = step

    def __iter__(self):
        return iter([k * self.step % N for k in range(N)])


class Unsteady:
    """As PyTorch's RandomSampler: another order at each iteration."""

    def __init__(self):
        self.passes = itertools.count()

    def __len__(self):
        return N

    def __iter__(self):
        return iter(np.random.default_rng(next(self.passes)).permutation(N).tolist())


ROWS = np.arange(N)
WEIGHTS = np.arange(1.0, N + 1)
KINDS = {
    "in order": {},
    "shuffled": {"shuffle": True},
    "other seed": {"shuffle": True, "seed": 1},
    "random sampler": {"sampler": data.RandomSampler(ROWS)},
    "with replacement": {"sampler": data.RandomSampler(ROWS, True)},
    "weighted": {"sampler": data.WeightedRandomSampler(WEIGHTS, N)},
    "other weights": {"sampler": data.WeightedRandomSampler(WEIGHTS[::-1], N)},
    "stratified": {"sampler": data.StratifiedSampler(ROWS % 3)},
    "distributed": {
        "sampler": data.DistributedSampler(range(2 * N), 2, 1),
        "dataset": range(2 * N),
    },
    "list": {"sampler": list(range(1, N))},
    "other list": {"sampler": [*range(1, N - 2), N - 1, N - 2]},
    "foreign": {"sampler": Foreign(5)},
    "other foreign": {"sampler": Foreign(7)},
    "batches": {"batch_sampler": data.BatchSampler(range(N), 4, False)},
    "larger batches": {"batch_sampler": data.BatchSampler(range(N), 6, False)},
    "buckets": {"batch_sampler": data.BucketSampler(ROWS + 1, 4)},
    "fewer samples": {"dataset": ROWS[1:]},
    "stream": {"dataset": data.filter(lambda x: True, ROWS)},
    "shuffled stream": {"dataset": data.filter(lambda x: True, ROWS), "shuffle": True},
    "shorter stream": {"dataset": data.filter(lambda x: True, ROWS[1:])},
    "two filters": {"dataset": data.filter(bool, data.filter(lambda x: x > 2, ROWS))},
    "lines": {"dataset": Lines()},
    "mix": {"dataset": data.mix([Lines(), Lines()], [1, 2])},
    "other mix": {"dataset": data.mix([Lines(), Lines()], [1, 3])},
    "chain": {"dataset": data.ChainDataset([Lines(), Lines()])},
}


def loader(kind, **more):
    arguments = dict(KINDS[kind])
    if "batch_sampler" not in arguments:
        arguments["batch_size"] = 4
    return data.DataLoader(arguments.pop("dataset", ROWS), **arguments, **more)


def begun(kind):
    """A state after two batches, and the batches that come after it."""
    first = loader(kind, epoch=2)
    iterator = iter(first)
    for _ in range(2):
        next(iterator)
    state = first.state_dict()
    return state, [batch.tolist() for batch in iterator]


STATES = {kind: begun(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_on_from_its_own_position_and_from_no_other(kind):
    for other, (state, rest) in STATES.items():
        resumed = loader(kind)
        if other == kind:
            resumed.load_state_dict(state)
            assert resumed.state_dict() == state
            resumed.set_epoch(2)  # as loops over epochs do: the restored position stays
            assert [batch.tolist() for batch in resumed] == rest
            assert resumed.state_dict()["epoch"] == 3
        else:
            with pytest.raises(ValueError, match=r"this loader('s| has).*(order|resumed)"):
                resumed.load_state_dict(state)
            assert resumed.state_dict()["position"] == 0


def test_the_difference_is_named():
    with pytest.raises(
        ValueError, match="has order='shuffle=True'; this loader has order='shuffle=F"
    ):
        loader("in order").load_state_dict(STATES["shuffled"][0])
    with pytest.raises(ValueError, match="order='sampler'; this loader has order='batch_sampler'"):
        loader("batches").load_state_dict(STATES["list"][0])


def test_an_order_that_is_never_the_same_cannot_be_resumed():
    torch = pytest.importorskip("torch.utils.data")
    for sampler in (Unsteady(), torch.RandomSampler(ROWS), torch.SubsetRandomSampler(range(N))):
        first = data.DataLoader(ROWS, 4, sampler=sampler)
        next(iter(first))
        state = first.state_dict()
        with pytest.raises(ValueError, match=r"cannot be resumed.*data\.RandomSampler"):
            first.load_state_dict(state)
    same = torch.SequentialSampler(ROWS)
    first = data.DataLoader(ROWS, 4, sampler=same)
    next(iter(first))
    first.load_state_dict(first.state_dict())
    assert next(iter(first)).tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("kind", ["shuffled", "batches", "foreign", "stream", "lines", "mix"])
def test_a_position_at_the_end_goes_on_with_the_next_epoch(kind):
    first = loader(kind)
    batches = sum(1 for _ in loader(kind))
    iterator = iter(first)
    for _ in range(batches):
        next(iterator)
    state = first.state_dict()
    resumed = loader(kind)
    resumed.load_state_dict(state)
    seen = [batch.tolist() for batch in resumed]
    assert seen == [batch.tolist() for batch in loader(kind, epoch=1)]
    assert resumed.state_dict()["epoch"] == 2
    assert [b.tolist() for b in resumed] == [b.tolist() for b in loader(kind, epoch=2)]


def test_dropped_samples_at_the_end_are_no_epoch():
    first = data.DataLoader(np.arange(10), 4)
    iterator = iter(first)
    next(iterator), next(iterator)
    second = data.DataLoader(np.arange(10), 4, drop_last=True)
    second.load_state_dict(first.state_dict())
    assert len(list(second)) == 2
    assert second.epoch == 2


def test_set_epoch_begins_anew_except_for_a_position_just_restored():
    first = loader("shuffled")
    iterator = iter(first)
    next(iterator)
    state = first.state_dict()
    first.set_epoch(1)
    assert first.state_dict() == loader("shuffled", epoch=1).state_dict()
    first.load_state_dict(state)
    first.set_epoch(0)
    assert first.state_dict() == state
    first.set_epoch(1)
    first.set_epoch(0)
    assert first.state_dict()["position"] == 0


def test_the_position_ahead_of_a_device_is_the_present_one():
    source = loader("shuffled")
    next(iter(source))  # broken off
    ahead = data.prefetch_to_device(source)
    iterator = iter(ahead)
    state = ahead.state_dict()
    assert (state["epoch"], state["position"]) == (1, 0)
    next(iterator)
    assert ahead.state_dict()["position"] == 4
    resumed = loader("shuffled")
    resumed.load_state_dict(ahead.state_dict())
    assert [batch.tolist() for batch in resumed] == [batch.tolist() for batch in iterator]


def test_an_iterator_is_no_sampler_and_a_length_may_be_unknown():
    for name in ("sampler", "batch_sampler"):
        with pytest.raises(TypeError, match=f"{name} is an iterator, which is used up after one"):
            data.DataLoader(ROWS, **{name: iter([0, 1])})
    unknown = data.DataLoader(ROWS, 5, sampler=Foreign(5))
    with pytest.raises(TypeError, match="its length is not known beforehand"):
        len(unknown)
    assert len(list(unknown)) == 5
    with pytest.raises(ValueError, match="incomplete last batch"):
        list(data.DataLoader(ROWS, 10, sampler=Foreign(5), shard=(0, 2)))


class Sized(Lines):
    def __len__(self):
        return self.length


@pytest.mark.parametrize(
    ("dataset", "length"),
    [
        (Sized(10), 3),
        (data.map(lambda x: x, Sized(10)), 3),
        (data.ChainDataset([Sized(10), range(3)]), 4),
        (data.filter(bool, Sized(10)), None),
        (data.ChainDataset([Sized(10), Lines()]), None),
    ],
)
def test_a_stream_has_the_length_that_its_source_says(dataset, length):
    loaded = data.DataLoader(dataset, 4)
    if length is None:
        with pytest.raises(TypeError, match="is a stream"):
            len(loaded)
    else:
        assert len(loaded) == length == len(list(loaded))
