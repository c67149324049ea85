"""What a PyTorch user types first works, or says what to write."""

import collections
import dataclasses

import numpy as np
import pytest

from funcnet import data

ROWS = np.arange(6)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("collate_fn", "collate="),
        ("pin_memory", "prefetch_to_device"),
        ("device", "prefetch_to_device"),
        ("generator", "seed="),
        ("prefetch_factor", "prefetch="),
        ("multiprocessing_context", "never forked"),
        ("worker_init_fn", "rng"),
        ("transform", r"transforms=\[f\]"),
    ],
)
def test_arguments_of_pytorchs_loader_are_answered(name, hint):
    with pytest.raises(TypeError, match=rf"DataLoader takes no {name}=: .*{hint}"):
        data.DataLoader(ROWS, **{name: None})


def test_other_arguments_are_refused_as_ever():
    with pytest.raises(TypeError, match="unexpected keyword argument 'shufle'"):
        data.DataLoader(ROWS, shufle=True)
    for call in (
        lambda: data.RandomSampler(ROWS, generator=1),
        lambda: data.WeightedRandomSampler(ROWS, 2, generator=1),
        lambda: data.random_split(ROWS, [3, 3], generator=1),
    ):
        with pytest.raises(TypeError, match=r"takes no generator=: .*seed="):
            call()


def test_places_that_differ_from_pytorchs_are_refused():
    assert len(data.DataLoader(ROWS, 2, True, None, None, 0, None)) == 3
    with pytest.raises(TypeError, match=r"by name, drop_last=.*got 1 more"):
        data.DataLoader(ROWS, 2, True, None, None, 0, None, True)


@pytest.mark.parametrize("name", ["transforms", "batch_transforms"])
def test_one_transform_is_a_list_of_one(name):
    with pytest.raises(TypeError, match=rf"{name} is a list of functions: write {name}=\[On"):
        data.DataLoader(ROWS, **{name: data.augment.On("image", data.augment.RandomRotation(9))})


def test_transforms_of_torchvision_are_answered():
    for name, hint in {
        "ToTensor": "NumPy arrays already.*ToFloat",
        "Lambda": "any function",
    }.items():
        with pytest.raises(AttributeError, match=rf"'{name}'. In funcnet: .*{hint}"):
            getattr(data.augment, name)
    with pytest.raises(TypeError, match=r"one by one, as in Compose\(first, second\)"):
        data.augment.Compose([data.augment.RandomRotation(9)])
    assert dir(data.augment) == sorted(data.augment.__all__)


NOT_COUNTS = {
    "batch_size": lambda n: data.DataLoader(ROWS, n),
    "num_workers": lambda n: data.DataLoader(ROWS, num_workers=n),
    "prefetch": lambda n: data.DataLoader(ROWS, prefetch=n),
    "sampler": lambda n: data.RandomSampler(ROWS, num_samples=n),
    "weighted": lambda n: data.WeightedRandomSampler([1.0, 2.0], n),
    "distributed": lambda n: data.DistributedSampler(ROWS, n, 0),
    "batch sampler": lambda n: data.BatchSampler(data.SequentialSampler(ROWS), n, False),
}


@pytest.mark.parametrize("name", NOT_COUNTS)
@pytest.mark.parametrize("count", [2.5, "2"])
def test_counts_are_whole_numbers(name, count):
    with pytest.raises(TypeError, match="must be a whole number; got"):
        NOT_COUNTS[name](count)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("used_up", [iter, lambda x: map(int, x), lambda x: (i for i in x)])
def test_an_epoch_of_nothing_after_an_iterator_was_used_up_raises(used_up, workers):
    loader = data.DataLoader(used_up(ROWS.tolist()), 2, num_workers=workers)
    assert len(list(loader)) == 3
    with pytest.raises(TypeError, match="used up after one epoch; pass a list"):
        list(loader)
    assert [list(data.DataLoader(iter([]), 2)) for _ in range(2)] == [[], []]


def test_a_dict_of_arrays_is_no_dataset_but_makes_one():
    with pytest.raises(TypeError, match=r"data\.ArrayDataset\(arrays\)"):
        data.DataLoader({"x": ROWS})
    assert len(data.DataLoader(dict(enumerate(ROWS)), 2)) == 3


def test_names_of_pytorch_are_answered_and_only_public_names_are_listed():
    with pytest.raises(AttributeError, match=r"'TensorDataset'. In funcnet: data\.ArrayDataset"):
        data.TensorDataset  # noqa: B018
    with pytest.raises(AttributeError, match=r"transforms=\[f\]"):
        data.transforms  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        data.nothing  # noqa: B018
    assert dir(data) == sorted(data.__all__)
    assert "augment" in dir(data)


def test_datasets_and_loaders_of_pytorch():
    torch = pytest.importorskip("torch")
    from torch.utils import data as theirs

    tensors = theirs.TensorDataset(torch.arange(6), torch.ones(6, 2))
    numbers, ones = next(iter(data.DataLoader(tensors, 4)))
    assert type(numbers) is np.ndarray
    assert (numbers.dtype, ones.shape) == (np.int64, (4, 2))
    arrays = data.ArrayDataset({"x": torch.ones(6, 2), "y": [torch.arange(6)]})
    assert arrays[2]["y"][0] == 2
    for loader in (theirs.DataLoader(tensors), data.DataLoader(ROWS)):
        with pytest.raises(TypeError, match=r"a loader already.*DataLoader\(loader\.dataset"):
            data.DataLoader(loader)
    (batch,) = data.prefetch_to_device(theirs.DataLoader(tensors, 6))
    assert float(batch[1].sum()) == 12
    with pytest.raises(TypeError, match=r"w is a Tensor that NumPy cannot take.*tensor\.detach"):
        data.ArrayDataset({"w": torch.ones(2, requires_grad=True)})

    class Stream(theirs.IterableDataset):
        def __iter__(self):
            return iter(range(5))

        def __len__(self):
            return 5

    loader = data.DataLoader(data.map(lambda x: x + 1, Stream()), 2)
    assert [batch.tolist() for batch in loader] == [[1, 2], [3, 4], [5]]
    assert len(loader) == 3
    for sampler in (theirs.RandomSampler(ROWS), theirs.SubsetRandomSampler([1, 3])):
        batches = list(data.DataLoader(ROWS, 2, sampler=sampler))
        assert set(np.concatenate(batches).tolist()) >= {1, 3}


@dataclasses.dataclass(frozen=True)
class Pair:
    x: np.ndarray
    rest: dict

    def __post_init__(self):
        assert self.x.shape == (2,)  # of one sample, not of a batch


class Encoding(collections.UserDict):
    """As tokenizers of Hugging Face return it."""

    def __getattr__(self, name):
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(name) from None


@pytest.mark.parametrize("kind", [0, "process"])
def test_mappings_and_dataclasses_are_collated(kind):
    workers = {"num_workers": 1, "workers": "process"} if kind else {}
    samples = [Encoding(ids=np.full(2, k), deep=Encoding(n=k)) for k in range(4)]
    _, batch = data.DataLoader(samples, 2, **workers)
    assert batch["ids"].tolist() == [[2, 2], [3, 3]]
    assert batch["deep"]["n"].dtype == np.int32
    pairs = [Pair(np.full(2, k), {"y": [k]}) for k in range(4)]
    _, made = data.DataLoader(pairs, 2, **workers)
    assert type(made) is Pair
    assert made.x.tolist() == [[2, 2], [3, 3]]
    assert made.rest["y"][0].tolist() == [2, 3]
    attributes = data.DataLoader(samples, 4, transforms=[lambda s: s.ids * 2])
    assert next(iter(attributes))[3].tolist() == [6, 6]
    assert data.ArrayDataset(Encoding(ids=ROWS))[2] == {"ids": 2}
    with pytest.raises(ValueError, match="one structure"):
        data.collate([samples[0], {"ids": np.ones(2)}])
