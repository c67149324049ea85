"""DataLoader over data in memory: order, epochs, position, memory."""

import gc
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import data
from funcnet.data.loading.batch_memory import BatchMemory


@pytest.fixture
def dataset(rng):
    return data.ArrayDataset({"x": rng.normal(size=(50, 3)).astype(np.float32), "i": np.arange(50)})


def indices(loader):
    return [batch["i"].tolist() for batch in loader]


@pytest.mark.parametrize(("drop_last", "count"), [(False, 7), (True, 6)])
def test_sequential_covers_everything(dataset, drop_last, count):
    loader = data.DataLoader(dataset, batch_size=8, drop_last=drop_last)
    seen = indices(loader)
    assert len(seen) == len(loader) == count
    assert list(itertools.chain(*seen)) == list(range(50 - 2 * drop_last))


def test_order_is_a_function_of_seed_and_epoch(dataset):
    loader = data.DataLoader(dataset, 8, shuffle=True, seed=3)
    first, second = indices(loader), indices(loader)
    assert sorted(itertools.chain(*first)) == list(range(50))
    assert first != second
    assert indices(data.DataLoader(dataset, 8, shuffle=True, seed=3, epoch=1)) == second
    loader.set_epoch(0)
    assert indices(loader) == first
    assert indices(data.DataLoader(dataset, 8, shuffle=True, seed=4)) != first


def test_a_broken_off_epoch_is_not_repeated(dataset):
    loader = data.DataLoader(dataset, 8, shuffle=True)
    first = next(iter(loader))["i"].tolist()
    assert next(iter(loader))["i"].tolist() != first


@pytest.mark.parametrize("taken", [0, 1, 6, 7])
def test_resumes_exactly(dataset, taken):
    def loader():
        return data.DataLoader(dataset, 8, shuffle=True, seed=5)

    straight, broken = loader(), loader()
    expected = indices(straight) + indices(straight)
    batches = iter(broken)
    seen = [next(batches)["i"].tolist() for _ in range(taken)]
    state = broken.state_dict()
    resumed = loader()
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    # After the last batch the state is at the start of the next epoch: no pass is empty.
    assert (seen + indices(resumed) + indices(resumed))[: len(expected)] == expected


def test_finished_epoch_resumes_at_the_next(dataset):
    loader = data.DataLoader(dataset, 8, shuffle=True)
    indices(loader)
    assert loader.state_dict()["epoch"] == 1
    assert loader.state_dict()["position"] == 0


def test_state_of_another_seed_is_refused(dataset):
    state = data.DataLoader(dataset, seed=1).state_dict()
    with pytest.raises(ValueError, match="seed=1; this loader has seed=0"):
        data.DataLoader(dataset).load_state_dict(state)


def test_kept_batches_are_never_written_again(dataset):
    loader = data.DataLoader(dataset, 8)
    kept = list(loader)
    np.testing.assert_array_equal(
        np.concatenate([batch["x"] for batch in kept]), dataset.arrays["x"]
    )
    # A view of a view of a batch keeps it, too.
    tails = [batch["x"][1:][::2] for batch in loader]
    expected = [batch["x"][1:][::2] for batch in kept]
    for tail, other in zip(tails, expected, strict=True):
        np.testing.assert_array_equal(tail, other)


def test_jax_arrays_that_alias_a_batch_keep_it(dataset):
    kept = [jnp.asarray(batch["x"]) for batch in data.DataLoader(dataset, 8)]
    np.testing.assert_array_equal(jnp.concatenate(kept), dataset.arrays["x"])


def test_a_donated_batch_harms_neither_dataset_nor_later_batches(dataset):
    before = dataset.arrays["x"].copy()
    step = jax.jit(lambda x: x * 2, donate_argnums=0)
    outputs = [step(jax.device_put(b["x"])) for b in data.DataLoader(dataset, 10)]
    np.testing.assert_array_equal(jnp.concatenate(outputs), before * 2)
    np.testing.assert_array_equal(dataset.arrays["x"], before)


def test_memory_of_dropped_batches_is_used_again():
    allocate = BatchMemory(capacity=2)
    block, start = allocate(1000)
    address = block.ctypes.data
    assert (address + start) % 64 == 0
    view = np.ndarray((10,), np.uint8, block, start)[2:]
    del block
    assert allocate(1000)[0].ctypes.data != address
    del view
    gc.collect()
    assert allocate(900)[0].ctypes.data == address


def test_any_sequence_of_samples_is_a_dataset():
    loader = data.DataLoader([(i, float(i), f"name {i}", i > 1) for i in range(4)], 4)
    numbers, floats, names, flags = next(iter(loader))
    assert numbers.dtype == np.int32
    assert floats.dtype == np.float32
    assert flags.dtype == bool
    assert names == ["name 0", "name 1", "name 2", "name 3"]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([np.ones(2), np.ones(3)], r"the array is \(2,\) in sample 0 and \(3,\) in sample 1"),
        ([{"a": np.ones(2)}, {"a": np.ones((1, 2))}], r"a is \(2,\) in sample 0"),
        ([{"a": 1}, {"a": 1, "b": 2}], "one structure"),
        ([{"a": 1}, {"b": 2}], r"has the leaves \['a'\], sample 1 has \['b'\]"),
        ([(1, {"a": 2}), (1, [2])], "one structure"),
        ([{"a": 1.0}, {"a": 2.0}, {"a": None}], "a is of type float in sample 0 and NoneType in s"),
        ([None, 1.0], "the array is of type NoneType in sample 0 and float in sample 1"),
        ([np.str_("a"), np.float64(1)], "of type str_ in sample 0 and float64 in sample 1"),
        ([2, 3, np.array("a")], "of type int in sample 0 and ndarray in sample 2"),
        ([1, {"a": 1}], "the array is of type int in sample 0 and dict in sample 1"),
        ([], "at least one sample"),
    ],
)
def test_collate_refuses(samples, message):
    with pytest.raises(ValueError, match=message):
        data.collate(samples)


def test_collate_goes_by_names():
    batch = data.collate([{"x": 1, "y": 2.5}, {"y": 3.5, "x": 4}])
    assert {name: values.tolist() for name, values in batch.items()} == {
        "x": [1, 4],
        "y": [2.5, 3.5],
    }


@pytest.mark.parametrize(
    ("samples", "dtype"),
    [
        ([1, 2**40], np.int64),
        ([1, 2.5], np.float32),
        ([True, 5], np.int32),
        ([2.5, 1j], np.complex64),
        ([np.int64(1), np.float64(2.5)], np.float64),
        ([np.float32(1), 0.5], np.float32),
        ([np.float64(1), 2], np.float64),
        ([np.ones((), np.float16), np.full((), 1e9)], np.float64),
        ([np.array("a"), np.array("bcd")], "<U3"),
        ([np.datetime64("2020-01-01", "D"), np.datetime64("2021", "s")], "<M8[s]"),
    ],
)
def test_collate_loses_no_value(samples, dtype):
    batch = data.collate(samples)
    assert batch.dtype == dtype
    assert all(value == sample for value, sample in zip(batch, samples, strict=True))


def test_collate_of_other_libraries_arrays():
    batch = data.collate([{"z": jnp.ones(2, jnp.bfloat16)}, {"z": jnp.zeros(2, jnp.bfloat16)}])
    assert type(batch["z"]) is np.ndarray
    assert batch["z"].dtype == jnp.bfloat16
    objects = [np.array([None]), np.array(["a"], object)]
    assert data.collate(objects) == objects


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"seed": -1}, {"epoch": -1}])
def test_refuses(dataset, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        data.DataLoader(dataset, **arguments)
