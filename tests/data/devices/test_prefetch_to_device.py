"""From the loader to the devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from funcnet import data


@pytest.fixture
def loader(rng):
    arrays = {"x": rng.normal(size=(32, 4)).astype(np.float32), "i": np.arange(32)}
    return data.DataLoader(data.ArrayDataset(arrays), 8, shuffle=True, seed=2)


def test_same_batches_in_the_same_order(loader):
    expected = list(loader)
    loader.set_epoch(0)
    on_device = data.prefetch_to_device(loader, 3)
    assert len(on_device) == 4
    for ours, other in zip(on_device, expected, strict=True):
        assert isinstance(ours["x"], jax.Array)
        np.testing.assert_array_equal(ours["x"], other["x"])
        np.testing.assert_array_equal(ours["i"], other["i"])
        assert ours["i"].dtype == jnp.int32


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_state_counts_what_was_given_out(loader, size):
    expected = [batch["i"].tolist() for batch in loader]
    loader.set_epoch(0)
    on_device = data.prefetch_to_device(loader, size)
    assert on_device.state_dict()["position"] == 0
    batches = iter(on_device)
    seen = [next(batches)["i"].tolist() for _ in range(2)]
    state = on_device.state_dict()
    assert state["position"] == 16
    other = data.prefetch_to_device(
        data.DataLoader(loader.dataset, 8, shuffle=True, seed=2, num_workers=2), size
    )
    other.load_state_dict(state)
    assert seen + [batch["i"].tolist() for batch in other] == expected
    assert other.state_dict()["epoch"] == 1
    other.set_epoch(7)
    assert other.state_dict()["epoch"] == 7


def test_sharded_over_a_mesh(loader):
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("data", "model"))
    rows = NamedSharding(mesh, P("data"))
    whole = NamedSharding(mesh, P())
    one = next(iter(data.prefetch_to_device(loader, sharding=rows)))
    assert one["x"].sharding == rows
    assert one["x"].addressable_shards[0].data.shape == (4, 4)
    loader.set_epoch(0)
    two = next(iter(data.prefetch_to_device(loader, sharding={"x": rows, "i": whole})))
    assert two["i"].sharding == whole
    np.testing.assert_array_equal(one["x"], two["x"])


def test_on_one_device(loader):
    device = jax.devices()[-1]
    batch = next(iter(data.prefetch_to_device(loader, sharding=device)))
    assert batch["x"].devices() == {device}


def test_a_step_may_donate_its_batch(loader):
    step = jax.jit(lambda batch: {"x": batch["x"] * 2, "i": batch["i"] + 1}, donate_argnums=0)
    before = {name: array.copy() for name, array in loader.dataset.arrays.items()}
    made = [step(batch) for batch in data.prefetch_to_device(loader)]
    seen = np.concatenate([batch["i"] for batch in made]) - 1
    assert sorted(seen.tolist()) == list(range(32))
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in made]), 2 * before["x"][seen])
    for name, array in before.items():
        np.testing.assert_array_equal(loader.dataset.arrays[name], array)


def test_worker_processes_feed_a_jitted_step(loader):
    fed = data.DataLoader(loader.dataset, 8, num_workers=1, workers="process")
    step = jax.jit(lambda batch: batch["x"] * 2)
    outputs = [step(batch) for batch in data.prefetch_to_device(fed)]
    np.testing.assert_array_equal(jnp.concatenate(outputs), loader.dataset.arrays["x"] * 2)


def test_text_and_any_iterable():
    batches = [{"x": np.ones(2), "name": ["a", "b"]}]
    (batch,) = data.prefetch_to_device(batches)
    assert batch["name"] == ["a", "b"]
    assert isinstance(batch["x"], jax.Array)
    with pytest.raises(ValueError, match="size"):
        data.prefetch_to_device(batches, 0)


def test_profile(loader):
    slow = data.DataLoader(
        data.map(lambda s: {**s, "x": np.sort(s["x"])}, loader.dataset), 8, num_workers=1
    )
    profile = slow.profile()
    assert profile.batches == 4
    assert min(profile.read, profile.transform, profile.collate, profile.wait) > 0
    assert profile.total >= profile.wait
    table = str(profile).splitlines()
    assert [line.split()[0] for line in table] == (
        ["stage", "read", "transform", "collate", "wait", "total", "4"]
    )
    assert slow.profile(2).batches == 2
    assert data.DataLoader(data.filter(bool, range(9)), 2).profile().batches == 4


def test_tqdm_knows_the_length(loader):
    tqdm = pytest.importorskip("tqdm")
    with tqdm.tqdm(loader, disable=True) as bar:
        assert bar.total == 4
        assert len(list(bar)) == 4
    assert tqdm.tqdm(data.DataLoader(data.filter(bool, [1])), disable=True).total is None
