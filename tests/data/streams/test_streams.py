"""Streams and packing: contents, states, and loading them."""

import itertools
import json
import threading
import time

import numpy as np
import pytest

from funcnet import data
from funcnet.data.streams.as_stream import as_stream
from funcnet.data.streams.base import Reading

DOCUMENTS = [np.arange(n) + 100 * n for n in (3, 1, 7, 0, 2, 12, 5, 1, 4)]

STREAMS = {
    "filter": lambda: data.filter(lambda x: x % 3, range(40)),
    "flat_map": lambda: data.flat_map(lambda x: [x] * (x % 4), range(12)),
    "both": lambda: data.map(
        lambda x, rng: x + rng.integers(1000),
        data.filter(lambda x: x % 5, data.flat_map(lambda x: [x, -x], range(20))),
    ),
    "plain": lambda: data.map(lambda x, rng: x + rng.integers(1000), Numbers(23)),
    "stateful": lambda: Stateful(23),
    "after plain": lambda: data.flat_map(lambda x: [x] * x, Numbers(9)),
    "chain": lambda: data.ChainDataset([Numbers(5), range(7), data.filter(bool, range(9))]),
    "mix": lambda: data.mix([Numbers(20), data.filter(lambda x: x % 2, range(100, 130))], [2, 1]),
    "pack": lambda: data.map(
        lambda row: row["tokens"],
        data.pack(data.map(DOCUMENTS.__getitem__, range(len(DOCUMENTS))), 5),
    ),
    "pack whole": lambda: data.map(
        lambda row: row["tokens"], data.pack(data.filter(len, DOCUMENTS), 6, split=False)
    ),
}


class Numbers(data.IterableDataset):
    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(range(self.count))


class Stateful(data.IterableDataset):
    """Its iterator goes to a state by itself, and refuses to be skipped through."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return _StatefulIterator(self.count)


class _StatefulIterator:
    def __init__(self, count):
        self.next = 0
        self.count = count
        self.started = False

    def __iter__(self):
        return self

    def __next__(self):
        if self.next == self.count:
            raise StopIteration
        self.next += 1
        return self.next - 1

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        assert self.next == 0
        self.next = state["next"]


@pytest.mark.parametrize("name", STREAMS)
def test_every_state_continues_exactly(name):
    reading = Reading(seed=3, epoch=1, shuffle=name in ("filter", "both", "mix", "pack"), chunk=4)
    pairs = list(as_stream(STREAMS[name]()).iterate(reading, None))
    samples = [np.asarray(sample).tolist() for sample, _ in pairs]
    assert samples
    for taken, (_, state) in enumerate(pairs, 1):
        saved = json.loads(json.dumps(state))
        rest = [
            np.asarray(s).tolist() for s, _ in as_stream(STREAMS[name]()).iterate(reading, saved)
        ]
        assert rest == samples[taken:]
        assert len(json.dumps(state)) < 200


def test_contents():
    assert list(STREAMS["filter"]()) == [x for x in range(40) if x % 3]
    assert list(STREAMS["flat_map"]()) == [x for x in range(12) for _ in range(x % 4)]
    assert list(STREAMS["chain"]()) == [*range(5), *range(7), *range(1, 9)]
    assert list(data.map(lambda x: -x, iter([1, 2]))) == [-1, -2]
    mixed = list(STREAMS["mix"]())
    assert [x for x in mixed if x >= 100] == list(range(101, 122, 2))
    assert [x for x in mixed if x < 100] == list(range(20))
    assert mixed[:6] == [101, 0, 1, 103, 2, 3]


@pytest.mark.parametrize("workers", ["thread", "process"])
@pytest.mark.parametrize("name", STREAMS)
def test_workers_compute_the_same(name, workers):
    def batches(number):
        loader = data.DataLoader(
            STREAMS[name](),
            4,
            shuffle=name in ("filter", "both", "pack"),
            seed=1,
            num_workers=number,
            workers=workers,
            transforms=[lambda x, rng: x + rng.integers(5)],
        )
        return [batch.tolist() for batch in loader]

    assert batches(0) == batches(2)


@pytest.mark.parametrize("workers", ["thread", "process"])
def test_workers_take_what_can_only_be_read_once(workers):
    """A generator: no process but this one can read it; the samples travel, whatever their size."""
    sizes = [3, 100_000, 0, 7, 50_000, 1]
    source = (np.full(size, number, np.int32) for number, size in enumerate(sizes))
    loader = data.DataLoader(
        source, 2, num_workers=2, workers=workers, transforms=[lambda x: (len(x), x.sum())]
    )
    lengths, sums = zip(*loader, strict=True)
    assert np.concatenate(lengths).tolist() == sizes
    assert np.concatenate(sums).tolist() == [n * size for n, size in enumerate(sizes)]


@pytest.mark.parametrize("workers", ["thread", "process"])
def test_what_was_read_before_a_failure_comes_first(workers):
    def numbers():
        yield from range(10)
        raise OSError("the disk is gone")

    loader = data.DataLoader(numbers(), 4, num_workers=2, workers=workers)
    batches = iter(loader)
    assert [next(batches).tolist() for _ in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


@pytest.mark.parametrize("number", [0, 2])
def test_a_failing_sample_of_an_iterable_is_named(number):
    loader = data.DataLoader(
        data.map(lambda x: 1 / x, iter([1, 2, 0])), num_workers=number, workers="process"
    )
    with pytest.raises(data.SampleError, match=r"sample 2 of map\(.*<lambda>.*ZeroDivisionError"):
        list(loader)


def test_a_source_that_does_not_come():
    gate = threading.Event()

    def numbers():
        yield from range(4)
        gate.wait(5)

    batches = iter(data.DataLoader(numbers(), 2, num_workers=1, prefetch=1, timeout=0.2))
    with pytest.raises(TimeoutError, match=r"no samples within timeout=0\.2 seconds"):
        list(batches)
    gate.set()


def test_leaving_early_ends_the_thread_that_reads():
    loader = data.DataLoader(itertools.count(), 4, num_workers=2)
    for batch in loader:
        assert batch.tolist() == [0, 1, 2, 3]
        break
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("funcnet-data") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_shuffle_is_over_the_source():
    loader = data.DataLoader(STREAMS["filter"](), 100, shuffle=True)
    (batch,) = loader
    assert batch.tolist() != sorted(batch.tolist())
    assert sorted(batch.tolist()) == [x for x in range(40) if x % 3]


def test_a_failing_sample_of_a_stream_is_named():
    loader = data.DataLoader(data.filter(lambda x: 1 / x, [1, 2, 0]))
    with pytest.raises(
        data.SampleError, match=r"sample 2 of filter\(.*<lambda>, list of length 3"
    ) as e:
        list(loader)
    assert e.value.index == 2


def test_streams_have_no_length():
    loader = data.DataLoader(STREAMS["filter"](), 4)
    with pytest.raises(TypeError, match="length is not known beforehand"):
        len(loader)


@pytest.mark.parametrize(("last", "sizes"), [({}, [4, 4, 2]), ({"drop_last": True}, [4, 4])])
def test_last_batch(last, sizes):
    assert [len(b) for b in data.DataLoader(Numbers(10), 4, **last)] == sizes


@pytest.mark.parametrize("source", [Numbers(10), list(range(10)), np.arange(10)])
def test_padded_last_batch(source):
    batches = list(data.DataLoader(source, 4, pad_last=True))
    assert [values.shape for values, _ in batches] == [(4,)] * 3
    values = np.concatenate([values[valid] for values, valid in batches])
    assert values.tolist() == list(range(10))


def test_where_the_mark_of_padding_goes():
    (batch,) = data.DataLoader([{"x": 1}, {"x": 2}], 3, pad_last=True)
    assert batch["valid"].tolist() == [True, True, False]
    (batch,) = data.DataLoader([(1, 2)], 2, pad_last=True)
    assert batch[2].tolist() == [True, False]


def test_pack_loses_nothing_and_cuts_only_at_the_end():
    rows = list(data.pack(DOCUMENTS, 5))
    tokens = np.concatenate([row["tokens"][row["segment_ids"] > 0] for row in rows])
    assert tokens.tolist() == np.concatenate(DOCUMENTS).tolist()
    assert all((row["segment_ids"] > 0).all() for row in rows[:-1])
    positions = np.concatenate([row["positions"][row["segment_ids"] > 0] for row in rows])
    assert positions.tolist() == [k for d in DOCUMENTS for k in range(len(d))]


def test_pack_of_whole_documents():
    rows = list(data.pack(DOCUMENTS, 6, split=False, pad=-1))
    seen = []
    for row in rows:
        for segment in range(1, row["segment_ids"].max() + 1):
            seen.append(row["tokens"][row["segment_ids"] == segment].tolist())
        assert (row["tokens"][row["segment_ids"] == 0] == -1).all()
        assert row["tokens"].dtype == np.int32
    # Documents longer than a row are cut; no other is.
    whole = [d.tolist() for d in DOCUMENTS]
    assert seen == [d[k : k + 6] for d in whole for k in range(0, len(d), 6)]


def test_pack_refuses_what_is_no_document():
    with pytest.raises(ValueError, match=r"one-dimensional arrays of tokens; got shape \(2, 2\)"):
        list(data.pack([np.ones((2, 2))], 4))


def test_epochs_reach_an_iterable_dataset():
    class Epochs(data.IterableDataset):
        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            return iter([self.epoch])

    loader = data.DataLoader(Epochs(), epoch=4)
    assert list(itertools.chain(*(batch.tolist() for _ in range(2) for batch in loader))) == [4, 5]
