"""Threads and processes: the same batches as without, and nothing left of them."""

import gc
import itertools
import os
import pathlib
import signal
import sys
import threading
import time

import numpy as np
import pytest

from funcnet import data
from funcnet.data.workers.pickling import dumps
from tests.data.workers.waiting import until

KINDS = ["thread", "process"]


def jitter(sample, rng):
    return {"x": sample["x"] + rng.normal(size=3).astype(np.float32), "i": sample["i"]}


@pytest.fixture(scope="module")
def dataset():
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    return data.ArrayDataset({"x": x, "i": np.arange(60)})


def children():
    """List the processes whose parent is this one, and that are not zombies."""
    found = set()
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            _, rest = stat.read_text().rsplit(")", 1)
        except (FileNotFoundError, ProcessLookupError):
            continue
        state, parent = rest.split()[:2]
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(stat.parent.name))
    return found


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def data_threads():
    return [t for t in threading.enumerate() if t.name.startswith("funcnet-data")]


@pytest.fixture
def nothing_left():
    before, files = children(), descriptors()
    yield
    gc.collect()
    until(lambda: children() <= before and not data_threads())
    assert descriptors() <= files


def flat(batches):
    return [(batch["i"].tolist(), batch["x"].tolist()) for batch in batches]


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_workers_gives_the_same(dataset, kind, nothing_left):
    def loader(workers):
        return data.DataLoader(
            data.map(jitter, dataset),
            8,
            shuffle=True,
            seed=1,
            num_workers=workers,
            workers=kind,
            transforms=[lambda s, rng: {**s, "x": s["x"] * rng.uniform()}],
            batch_transforms=[lambda b, rng: {**b, "x": b["x"] + rng.integers(9)}],
        )

    alone = loader(0)
    expected = flat(alone), flat(alone)
    assert expected[0] != expected[1]
    shared = loader(2)
    assert (flat(shared), flat(shared)) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_kept_batches_stay(dataset, kind, nothing_left):
    loader = data.DataLoader(dataset, 4, num_workers=2, workers=kind)
    kept = list(loader)
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in kept]), dataset.arrays["x"])
    assert all(b["x"].flags.writeable for b in kept)
    del kept


@pytest.mark.parametrize("kind", KINDS)
def test_break_leaves_nothing(dataset, kind, nothing_left):
    for batch in data.DataLoader(dataset, 4, num_workers=2, workers=kind):
        assert len(batch["i"]) == 4
        break
    del batch


@pytest.mark.parametrize("kind", KINDS)
def test_exception_in_the_loop_leaves_nothing(dataset, kind, nothing_left):
    loader = data.DataLoader(dataset, 4, num_workers=1, workers=kind)

    def loop():
        for _ in loader:
            raise KeyError("mine")

    with pytest.raises(KeyError):
        loop()


@pytest.mark.parametrize("kind", KINDS)
def test_a_failing_sample_is_named(dataset, kind, nothing_left):
    def explode(sample):
        if sample["i"] == 13:
            raise ZeroDivisionError("thirteen")
        return sample

    loader = data.DataLoader(dataset, 4, num_workers=1, workers=kind, transforms=[explode])
    message = (
        r"sample 13 of ArrayDataset\(60 samples.*failed in transform .*explode:"
        r" ZeroDivisionError: thirteen"
    )
    with pytest.raises(data.SampleError, match=message) as caught:
        list(loader)
    assert caught.value.index == 13
    if kind == "process":
        assert "in explode" in caught.value.__notes__[0]
        assert "raise ZeroDivisionError" in caught.value.__notes__[0]
    else:
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_dataset_that_cannot_be_read_is_named():
    class Broken:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise OSError("gone")

        def __repr__(self):
            return "Broken()"

    with pytest.raises(data.SampleError, match=r"sample 0 of Broken\(\) failed while it was read"):
        next(iter(data.DataLoader(Broken())))


@pytest.mark.parametrize("kind", KINDS)
def test_timeout(kind, nothing_left):
    release = threading.Event()
    stuck = {
        "thread": lambda sample: release.wait(20),
        "process": lambda sample: time.sleep(20),
    }[kind]
    loader = data.DataLoader(
        [1, 2], 1, num_workers=1, workers=kind, timeout=0.05, transforms=[stuck]
    )
    with pytest.raises(TimeoutError, match=r"timeout=0.05 seconds; its first samples are \[0\]"):
        next(iter(loader))
    release.set()


def test_a_killed_worker_is_reported(dataset, nothing_left):
    def die(sample):
        if sample["i"] == 21:
            os.kill(os.getpid(), signal.SIGKILL)
        return sample

    loader = data.DataLoader(dataset, 4, num_workers=2, workers="process", transforms=[die])
    with pytest.raises(
        data.WorkerDiedError, match=r"SIGKILL.*first samples are \[20, 21, 22, 23\]"
    ):
        list(loader)


@pytest.mark.parametrize("when", range(4))
def test_a_worker_killed_from_outside_is_reported(dataset, when, nothing_left):
    loader = data.DataLoader(dataset, 1, num_workers=2, workers="process", persistent_workers=True)
    for _ in loader:
        break
    victim = max(children())
    batches = iter(loader)
    for _ in range(when * 5):
        next(batches)
    os.kill(victim, signal.SIGKILL)

    def go_on(batches):
        for _ in batches:
            time.sleep(0.01)  # the system takes a moment to end a process

    with pytest.raises(data.WorkerDiedError, match=f"pid {victim}"):
        go_on(batches)
    assert len(list(loader)) == 60  # a new epoch starts new workers
    loader.close()
    del loader, batches


def test_persistent_workers_are_the_same_processes(dataset, nothing_left):
    loader = data.DataLoader(
        dict.fromkeys(range(8), os.getpid),
        num_workers=2,
        workers="process",
        persistent_workers=True,
        transforms=[lambda getpid: getpid()],
    )
    seen = [set(np.concatenate(list(loader)).tolist()) for _ in range(2)]
    assert seen[0] | seen[1] == children() & (seen[0] | seen[1])
    for first in loader:  # an epoch broken off leaves no result to the next
        del first
        break
    assert len(list(loader)) == 8
    loader.close()
    assert not children() & (seen[0] | seen[1])


def test_workers_import_no_jax(nothing_left):
    def modules(_):
        return sorted({name.split(".")[0] for name in sys.modules})

    loader = data.DataLoader([0], num_workers=1, workers="process", transforms=[modules])
    (names,) = (batch for batch in loader)
    names = set(itertools.chain(*names))
    assert "numpy" in names
    assert not names & {"jax", "jaxlib", "torch"}


def test_what_cannot_be_sent_is_explained(nothing_left):
    lock = threading.Lock()
    loader = data.DataLoader(
        [1], num_workers=1, workers="process", transforms=[lambda sample: lock and sample]
    )
    with pytest.raises(TypeError, match="lock") as caught:
        next(iter(loader))
    assert 'workers="thread"' in caught.value.__notes__[0]


def test_large_arrays_are_not_pickled(tmp_path):
    memory = data.share(data.ArrayDataset(np.arange(300_000)))
    np.save(tmp_path / "x.npy", np.arange(500_000))
    mapped = data.ArrayDataset.load(tmp_path / "x.npy")
    plain = data.ArrayDataset(np.arange(400_000))
    part = data.ArrayDataset(mapped.arrays[7:][::2])
    for dataset in (memory, mapped, plain, part, data.Subset(memory, [3, 5])):
        assert len(dumps(dataset)[0]) < 2000


def test_workers_read_shared_mapped_and_copied_arrays(tmp_path, nothing_left):
    np.save(tmp_path / "x.npy", np.arange(100_000.0))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    arrays = {
        "shared": data.share(np.arange(100_000)),
        "mapped": mapped,
        "part": np.load(tmp_path / "x.npy", mmap_mode="r")[::-1],
        "copied": np.arange(100_000) + 1,
    }
    loader = data.DataLoader(
        data.ArrayDataset(arrays), 7, shuffle=True, num_workers=1, workers="process"
    )
    alone = data.DataLoader(data.ArrayDataset(arrays), 7, shuffle=True)
    for ours, other in itertools.islice(zip(loader, alone, strict=True), 5):
        for name in arrays:
            np.testing.assert_array_equal(ours[name], other[name])
    del ours, other, loader, alone, arrays, mapped


def test_large_arrays_are_copied_once(nothing_left):
    dataset = data.ArrayDataset({"x": np.zeros((20_000, 4)), "i": np.arange(20_000)})
    loader = data.DataLoader(dataset, 10_000, num_workers=1, workers="process")

    def copies():
        assert [int(batch["i"][0]) for batch in loader] == [0, 10_000]
        return sorted(id(copy) for _, copy, _ in loader._runner._copies.kept.values())

    first = copies()
    assert len(first) == 2
    assert copies() == first


def test_batches_of_any_structure_come_through(nothing_left):
    samples = [{"name": f"n{i}", "box": [np.full(2, i), (i, 0.5)]} for i in range(6)]
    loader = data.DataLoader(samples, 3, num_workers=1, workers="process")
    first, second = loader
    assert first["name"] == ["n0", "n1", "n2"]
    assert second["box"][0].tolist() == [[3, 3], [4, 4], [5, 5]]
    assert second["box"][1][0].dtype == np.int32

    def ragged(samples):
        return [sample["box"][0] for sample in samples], np.float64(1), None

    loader = data.DataLoader(samples, 2, num_workers=1, workers="process", collate=ragged)
    arrays, number, nothing = next(iter(loader))
    assert [a.tolist() for a in arrays] == [[0, 0], [1, 1]]
    assert number == 1
    assert nothing is None


def test_batches_that_grow(nothing_left):
    samples = [np.full(10 ** (i % 6), i) for i in range(18)]
    loader = data.DataLoader(samples, 1, num_workers=1, workers="process")
    for i, batch in enumerate(loader):
        assert batch.shape == (1, 10 ** (i % 6))
        assert (batch == i).all()
        del batch


def test_two_iterators_at_once(dataset, nothing_left):
    loader = data.DataLoader(dataset, 8, num_workers=1, workers="process", persistent_workers=True)
    for a, b in zip(loader, loader, strict=True):
        np.testing.assert_array_equal(a["i"], b["i"])
    loader.close()
    del a, b


class Slow:
    """Samples that take a while, so that workers are busy when an epoch is given up."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        time.sleep(0.01)
        return index


@pytest.mark.parametrize("workers", ["thread", "process"])
def test_epochs_after_one_that_was_given_up_are_whole(workers, nothing_left):
    loader = data.DataLoader(Slow(), 2, num_workers=2, workers=workers, persistent_workers=True)
    for _ in range(4):
        for _ in zip(range(2), loader):  # noqa: B905 - given up early
            pass
        assert sorted(int(i) for batch in loader for i in batch) == list(range(40))
    del loader
    gc.collect()
