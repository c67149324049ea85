"""A sample that fails costs its batch, never the rest of the epoch, whatever reads it."""

import itertools

import numpy as np
import pytest

from funcnet import data

WORKERS = [{"num_workers": 0}, {"num_workers": 2}, {"num_workers": 1, "workers": "process"}]


class Corrupt:
    def __len__(self):
        return 12

    def __getitem__(self, index):
        if index in (4, 11):
            raise OSError("corrupt")
        return index


def explode(sample):
    if sample in (4, 11):
        raise ValueError("corrupt")
    return sample


class Rows(data.IterableDataset):
    def __iter__(self):
        return iter(range(12))


MAPPED = {
    "dataset": Corrupt,
    "transform": lambda: data.map(explode, range(12)),
    "many": lambda: data.Subset(Corrupt(), range(12)),
}
STREAMS = {
    "filter": lambda: data.filter(lambda x: True, Corrupt()),
    "iterable": lambda: data.map(explode, Rows()),
    "chain": lambda: data.ChainDataset([data.map(explode, Rows())]),
    "mix": lambda: data.mix([data.map(explode, Rows())]),
    "after chain": lambda: data.map(lambda x: x, data.ChainDataset([data.map(explode, Rows())])),
}


def collected(iterator):
    """Go on after each error; return the batches, and what the errors say."""
    seen, errors = [], []
    while True:
        try:
            seen.append(next(iterator).tolist())
        except data.SampleError as error:
            errors.append(str(error))
        except StopIteration:
            return seen, errors


@pytest.mark.parametrize("workers", WORKERS, ids=["none", "threads", "processes"])
@pytest.mark.parametrize("kind", MAPPED)
@pytest.mark.parametrize("ahead", [False, True])
def test_a_batch_is_lost_and_the_others_come(kind, workers, ahead):
    if workers.get("workers") and (kind != "dataset" or ahead):
        return  # processes take a second each
    loader = data.DataLoader(MAPPED[kind](), 3, **workers)
    seen, errors = collected(iter(data.prefetch_to_device(loader, 4) if ahead else loader))
    assert seen == [[0, 1, 2], [6, 7, 8]]
    assert len(errors) == 2
    assert all("corrupt" in error for error in errors)
    assert loader.state_dict()["epoch"] == 1


@pytest.mark.parametrize("workers", WORKERS, ids=["none", "threads", "processes"])
@pytest.mark.parametrize("kind", STREAMS)
def test_of_a_stream_only_the_sample_is_lost(kind, workers):
    if workers.get("workers") and kind not in ("filter", "after chain"):
        return  # processes take a second each
    loader = data.DataLoader(STREAMS[kind](), 3, **workers)
    seen, errors = collected(iter(loader))
    rows = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert list(itertools.chain(*seen))[:10] == rows
    assert len(errors) == 2


def test_packed_documents_go_on_after_one_that_fails():
    documents = data.map(lambda k: np.full(2, explode(k)), Rows())
    loader = data.DataLoader(data.pack(documents, 4), 1)
    iterator, rows, errors = iter(loader), [], 0
    for _ in range(7):
        try:
            rows += next(iterator)["tokens"].tolist()
        except data.SampleError:
            errors += 1
    assert rows[0] == [0, 0, 1, 1]
    assert rows[2] == [5, 5, 6, 6]
    assert errors == 2


def test_batches_before_an_error_reach_the_device_first():
    def source():
        yield from (np.full(1, k) for k in range(3))
        raise OSError("gone")

    iterator = iter(data.prefetch_to_device(source(), 2))
    assert [int(next(iterator)[0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        next(iterator)


def test_an_epoch_that_ended_early_is_not_taken_for_a_whole_one():
    def lines():
        yield 1
        raise OSError("disk")

    class Broken(data.IterableDataset):
        def __iter__(self):
            return lines()

    loader = data.DataLoader(Broken())
    iterator = iter(loader)
    assert next(iterator).tolist() == [1]
    with pytest.raises(OSError, match="disk"):
        next(iterator)
    with pytest.raises(RuntimeError, match="ended early, with OSError: disk"):
        next(iterator)
    assert loader.state_dict()["epoch"] == 0


def test_a_state_beside_a_failure_tries_the_batch_again():
    loader = data.DataLoader(Corrupt(), 3)
    iterator = iter(loader)
    next(iterator)
    with pytest.raises(data.SampleError):
        next(iterator)
    assert loader.state_dict()["position"] == 3
    assert next(iterator).tolist() == [6, 7, 8]
    assert loader.state_dict()["position"] == 9


def test_samples_of_unequal_shapes_are_told_how_to_be_filled_up():
    samples = [np.zeros(3), np.zeros(5)]
    with pytest.raises(
        ValueError, match=r"\(3,\) in sample 0 and \(5,\) in sample 1.*data\.pad\(\)"
    ):
        next(iter(data.DataLoader(samples, 2)))


def test_a_stream_is_named_without_its_address():
    with pytest.raises(ValueError, match=r"^Rows\(\) can only be iterated"):
        data.DataLoader(Rows(), 2, shuffle=True)


class Together:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index

    def __getitems__(self, indices):
        return next(iter([]))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_that_meets_the_end_of_another_iterator_is_not_the_end_of_the_epoch(workers):
    """A bare ``next`` raises StopIteration, which a ``for`` loop takes for the end: nothing would be trained on."""
    for dataset, options in (
        (range(4), {"collate": lambda samples: next(iter([]))}),
        (range(4), {"batch_transforms": [lambda batch: next(iter([]))]}),
        (Together(), {}),
    ):
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            list(data.DataLoader(dataset, 2, num_workers=workers, **options))


def test_a_mask_that_a_batch_would_not_have_is_refused():
    hidden = np.ma.masked_array([1.0, 2.0], [False, True])
    for make in (
        lambda: data.ArrayDataset({"x": hidden}),
        lambda: data.collate([{"x": np.ones(2)}, {"x": hidden}]),
        lambda: data.pad()([hidden, np.ones(3)]),
    ):
        with pytest.raises(TypeError, match=r"masked array.*array\.filled"):
            make()
