"""Exact continuation: datasets and streams, interrupted at random, on other workers and hosts."""

import json
from itertools import chain

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from funcnet import data

LABELS = np.arange(37) % 4


def jitter(sample, rng):
    return {"i": sample["i"], "x": sample["x"] + rng.random()}


class Lines(data.IterableDataset):
    """Samples that can only be read in order."""

    def __init__(self, length):
        self.length = length

    def __iter__(self):
        return ({"i": i, "x": i / 7} for i in range(self.length))


def source(kind, length):
    arrays = data.ArrayDataset({"i": np.arange(length), "x": np.arange(length) / 7})
    return {
        "arrays": lambda: arrays,
        "map": lambda: data.map(jitter, arrays),
        "mix": lambda: data.mix([arrays, data.map(jitter, arrays)], [2, 1], seed=1, stop="longest"),
        "subset": lambda: data.Subset(arrays, np.arange(length)[::-1]),
        "concat": lambda: data.ConcatDataset([arrays, data.map(jitter, arrays)]),
        "filter": lambda: data.filter(lambda s: s["i"] % 3, data.map(jitter, arrays)),
        "flat": lambda: data.flat_map(lambda s: [s] * (int(s["i"]) % 3), arrays),
        "pack": lambda: data.pack(
            data.map(lambda s: np.full(1 + s["i"] % 5, s["i"]), data.mix([arrays, arrays], [1, 2])),
            4,
        ),
        "lines": lambda: Lines(length),
        "lines, mapped": lambda: data.map(
            lambda s, rng: jitter(s, rng), data.filter(lambda s: s["i"] % 3, Lines(length))
        ),
        "lines, packed": lambda: data.pack(
            data.map(lambda s: np.full(1 + s["i"] % 5, s["i"]), Lines(length)), 4
        ),
    }[kind]()


KINDS = ["arrays", "map", "mix", "subset", "concat", "filter", "flat", "pack"]
KINDS += ["lines", "lines, mapped", "lines, packed"]
STREAMS = ["filter", "flat", "pack"]


def flat(batch):
    return {name: array.tolist() for name, array in sorted(batch.items())}


def joined(parts):
    """Put the shards of a batch back together."""
    return {name: list(chain(*(part[name] for part in parts))) for name in parts[0]}


class Hosts:
    """Several loaders that each make their share of every batch."""

    def __init__(self, count, make):
        self.loaders = [make((index, count)) for index in range(count)]

    def load_state_dict(self, state):
        for loader in self.loaders:
            loader.load_state_dict(json.loads(json.dumps(state)))

    def state_dict(self):
        states = [loader.state_dict() for loader in self.loaders]
        assert all(state == states[0] for state in states)
        assert len(json.dumps(states[0])) < 400
        return states[0]

    def __iter__(self):
        for parts in zip(*self.loaders, strict=True):
            yield joined([flat(part) for part in parts])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(KINDS),
    length=st.integers(1, 40),
    batch_size=st.sampled_from([4, 8]),
    shuffle=st.booleans(),
    last=st.sampled_from(["drop_last", "pad_last"]),
    seed=st.integers(0, 5),
    cuts=st.lists(st.integers(0, 12), min_size=2, max_size=2),
    workers=st.permutations([0, 4, 2]),
    hosts=st.permutations([4, 2, 1]),
)
def test_threads_and_hosts(kind, length, batch_size, shuffle, last, seed, cuts, workers, hosts):
    def make(number):
        def loader(shard):
            return data.DataLoader(
                source(kind, length),
                batch_size,
                shuffle and not kind.startswith("lines"),
                num_workers=number,
                seed=seed,
                shard=shard,
                **{last: True},
            )

        return loader

    straight = Hosts(1, make(0))
    expected = [*straight, *straight]
    seen = []
    state = Hosts(1, make(0)).state_dict()
    for number, count, cut in zip(workers, hosts, [*cuts, None], strict=True):
        group = Hosts(count, make(number))
        group.load_state_dict(state)
        if cut is None:
            # The state may stand behind the last batch of an epoch: then one pass is empty.
            for _ in range(3):
                seen += list(group)
        else:
            iterator = iter(group)
            for _ in range(cut):
                batch = next(iterator, None)
                if batch is None:  # the epoch ended: go on with the next one
                    iterator = iter(group)
                    batch = next(iterator, None)
                if batch is not None:
                    seen.append(batch)
        state = group.state_dict()
    assert seen[: len(expected)] == expected


@pytest.mark.parametrize("kind", ["mix", "pack", "lines, mapped"])
def test_processes_nought_four_two(kind):
    def loader(number):
        shuffle = kind != "lines, mapped"
        return data.DataLoader(
            source(kind, 40), 4, shuffle, num_workers=number, workers="process", seed=1
        )

    expected = [flat(batch) for batch in loader(0)]
    seen, state = [], loader(0).state_dict()
    for number, cut in ((0, 2), (4, 3), (2, 100)):
        current = loader(number)
        current.load_state_dict(state)
        for batch, _ in zip(current, range(cut), strict=False):
            seen.append(flat(batch))
            state = current.state_dict()
            if len(seen) in (2, 5):
                break
    assert seen == expected


def test_a_batch_sampler_resumes():
    def loader():
        return data.DataLoader(
            np.arange(37), batch_sampler=data.BucketSampler(LABELS + 1, 5), seed=2, epoch=3
        )

    first = loader()
    iterator = iter(first)
    seen = [next(iterator).tolist() for _ in range(3)]
    second = loader()
    second.load_state_dict(first.state_dict())
    assert seen + [b.tolist() for b in second] == [b.tolist() for b in loader()]


def test_prefetching_does_not_advance_the_state():
    loader = data.DataLoader(np.arange(100), 5, num_workers=3, prefetch=4)
    iterator = iter(loader)
    next(iterator)
    assert loader.state_dict()["position"] == 5


def test_another_batch_size_may_continue():
    first = data.DataLoader(np.arange(20), 5, shuffle=True)
    seen = next(iter(first)).tolist()
    second = data.DataLoader(np.arange(20), 3, shuffle=True)
    second.load_state_dict(first.state_dict())
    rest = np.concatenate(list(second)).tolist()
    assert seen + rest == data.Permutation(20)[:].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 3}, "seed=3"), ({"length": 9}, "length=9"), ({"version": 99}, "version=99")],
)
def test_a_state_that_does_not_fit_is_refused(change, message):
    loader = data.DataLoader(np.arange(20))
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(loader.state_dict() | change)
