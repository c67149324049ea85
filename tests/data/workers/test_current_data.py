"""Workers see the data as it is when an epoch begins, transforms change only their own samples."""

import collections
import dataclasses
import gc
import os
import subprocess
import threading
import types

import numpy as np
import pytest

from funcnet import data
from funcnet.data.workers.pickling import SharedCopies, dumps

WORKERS = [
    {"num_workers": 0},
    {"num_workers": 2},
    {"num_workers": 1, "workers": "process"},
    {"num_workers": 1, "workers": "process", "persistent_workers": True},
]


# Few rows are below, many above what is copied to shared memory.
@pytest.mark.parametrize(("number", "rows"), [(0, 10), (1, 5000), (2, 5000), (3, 10), (3, 5000)])
def test_data_that_changes_between_epochs_is_seen(number, rows):
    dataset = data.ArrayDataset({"x": np.zeros((rows, 4))})
    scale = {"by": 1}
    loader = data.DataLoader(
        dataset, rows, **WORKERS[number], batch_transforms=[lambda b: b["x"] * scale["by"]]
    )
    seen = []
    for value in (1, 2):
        dataset.arrays["x"][:] = value
        scale["by"] = value
        seen += [float(batch.max()) for batch in loader]
    assert seen == [1, 4]
    loader.close()


def test_an_array_put_in_the_place_of_another_is_seen():
    class Table:
        def __init__(self):
            self.rows = np.zeros((5000, 4))

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return self.rows[-1, -1]

    table = Table()
    loader = data.DataLoader(table, num_workers=1, workers="process", persistent_workers=True)
    seen = []
    for value in (0, 5):
        table.rows = np.full((5000, 4), value)
        seen += [float(batch[0]) for batch in loader]
        assert len(loader._runner._copies.kept) == 1
    assert seen == [0, 5]
    loader.close()


def test_persistent_workers_stay_while_nothing_changes():
    dataset = data.ArrayDataset(np.zeros((5000, 4)))
    loader = data.DataLoader(
        dataset,
        5000,
        num_workers=1,
        workers="process",
        persistent_workers=True,
        batch_transforms=[lambda batch: np.array([os.getpid(), batch[0, 0]])],
    )
    first, second = (next(iter(loader))[0] for _ in range(2))
    assert first == second
    dataset.arrays[0, 0] = 7  # in shared memory: written again, without new processes
    (third,) = loader
    assert third.tolist() == [first, 7]
    loader.close()


@dataclasses.dataclass
class Sample:
    x: np.ndarray


ROWS = 6
SOURCES = {
    "arrays": lambda: data.ArrayDataset({"x": np.ones((ROWS, 2))}),
    "shared": lambda: data.share(data.ArrayDataset({"x": np.ones((ROWS, 2))})),
    "list": lambda: [{"x": np.ones(2)} for _ in range(ROWS)],
    "userdict": lambda: [collections.UserDict(x=np.ones(2)) for _ in range(ROWS)],
    "deep": lambda: [{"x": np.ones(2), "y": [{"z": np.ones(2)}]} for _ in range(ROWS)],
    "subset": lambda: data.Subset(SOURCES["arrays"](), range(ROWS)),
    "concat": lambda: data.ConcatDataset([SOURCES["arrays"](), SOURCES["list"]()]),
    "cache": lambda: data.cache(SOURCES["arrays"]()),
    "mix": lambda: data.mix([SOURCES["arrays"](), SOURCES["list"]()]),
    "mapped": lambda: data.map(lambda sample: sample, SOURCES["arrays"]()),
    "stream": lambda: data.filter(lambda sample: True, SOURCES["arrays"]()),
    "iterable": lambda: data.ChainDataset([SOURCES["list"]()]),
}


def double(sample):
    sample["x"] *= 2
    for deep in sample.get("y", ()):
        deep["z"] *= 2
    sample["x"] = sample["x"] + 1
    return sample


# Processes take a second each: two kinds are enough.
CASES = [(kind, number) for kind in SOURCES for number in range(2)]
CASES += [(kind, 2) for kind in ("arrays", "list")]


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_a_transform_in_place_changes_its_own_sample_only(kind, number):
    workers = WORKERS[number]
    dataset = SOURCES[kind]()
    loader = data.DataLoader(dataset, 3, **workers, transforms=[double])
    for _ in range(2):
        for batch in loader:
            assert (batch["x"] == 3).all()
    in_map = data.DataLoader(data.map(double, dataset), 3)
    assert all((batch["x"] == 3).all() for _ in range(2) for batch in in_map)


def test_a_frozen_dataclass_a_named_tuple_and_a_collate_get_copies_too():
    samples = [Sample(np.ones(2)) for _ in range(2)]

    def write(sample):
        sample.x[:] = 5
        return sample

    for _ in data.DataLoader(samples, transforms=[write]):
        pass
    for _ in data.DataLoader(np.ones((2, 2)), collate=lambda rows: rows[0].fill(3) or rows[0]):
        pass
    assert samples[0].x.tolist() == [1, 1]
    plain = [types.SimpleNamespace(x=np.ones(2), names=["a"])]
    for _ in data.DataLoader(plain, transforms=[lambda s: s.names.append(1) or write(s)]):
        pass
    assert (plain[0].x.tolist(), plain[0].names) == ([1, 1], ["a"])
    table = np.ones((2, 2))
    list(data.DataLoader(table, collate=lambda rows: rows[0].__imul__(3)))
    assert (table == 1).all()


def test_many_arrays_take_few_descriptors():
    samples = [np.full(20_000, k, np.float32) for k in range(300)]
    before = len(os.listdir("/proc/self/fd"))
    copies = SharedCopies()
    payload, files = dumps(samples, copies)
    assert len(files) == 1
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    del payload, files, copies
    for batch in data.DataLoader(samples[:40], 20, num_workers=1, workers="process"):
        assert batch[3, 0] + 1 == batch[4, 0]


def test_a_subclass_of_an_array_stays_what_it_is():
    masked = np.ma.masked_greater(np.arange(20_000), 5)
    loader = data.DataLoader(
        [masked], collate=lambda s: int(s[0].mask.sum()), num_workers=1, workers="process"
    )
    assert list(loader) == [19_994]


def test_ctrl_c_while_workers_start_leaves_no_descriptor(monkeypatch):
    started = []
    popen = subprocess.Popen

    def interrupted(*args, **more):
        if len(started) == 1:
            raise KeyboardInterrupt
        started.append(popen(*args, **more))
        return started[-1]

    loader = data.DataLoader(range(4), num_workers=2, workers="process")
    next(iter(loader))
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(iter(loader))
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert started[0].wait(5) is not None


class Lines:
    """A file that is opened once, and so shared by threads."""

    def __init__(self, path, lock=None):
        self.stream = path.open("rb")
        self.lock = lock

    def __len__(self):
        return 8

    def __getitem__(self, index):
        self.stream.seek(index)
        return self.stream.read(1)[0]


OPENING = threading.Lock()


class Lazy(Lines):
    def __init__(self, path):
        self.path = path
        self.stream = None

    def __getitem__(self, index):
        with OPENING:  # two threads that opened it at once would leave one of the files open
            self.stream = self.stream or self.path.open("rb")
        return super().__getitem__(index)


def test_an_open_file_is_not_shared_by_threads(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(range(8)))
    lines, safe, lazy = Lines(path), Lines(path, threading.Lock()), Lazy(path)
    message = r"{}\.stream is an open file, which threads would share.*os\.pread"
    for dataset in (lines, data.Subset(lines, [1, 2]), data.map(lambda x: x, lines)):
        with pytest.raises(ValueError, match=message.format("Lines")):
            list(data.DataLoader(dataset, num_workers=2))
    with pytest.raises(ValueError, match=message.format("Lazy")):
        list(data.DataLoader(lazy, num_workers=2))
    for workers in (0, 1):
        assert np.concatenate(list(data.DataLoader(lines, num_workers=workers))).size == 8
    assert len(list(data.DataLoader(safe, num_workers=2))) == 8
    for dataset in (lines, safe, lazy):
        dataset.stream.close()
