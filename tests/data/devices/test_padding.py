"""Batches that the devices do not divide: filled and marked, or refused with what to write."""

import itertools
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from funcnet import data

Pair = namedtuple("Pair", "x y")

FORMS = {
    "dict": (lambda x, y: {"x": x, "y": y}, lambda b: (b["x"], b["y"], b["valid"])),
    "tuple": (lambda x, y: (x, y), lambda b: b),
    "list": (lambda x, y: [x, y], lambda b: (*b[0], b[1])),
    "named": (Pair, lambda b: (*b[0], b[1])),
    "array": (lambda x, y: x, lambda b: (b[0], None, b[1])),
    "inner": (
        lambda x, y: {"x": {"y": y, "x": x}},
        lambda b: (b["x"]["x"], b["x"]["y"], b["valid"]),
    ),
}


def mesh_of(count, kind=AxisType.Auto):
    return jax.make_mesh((count,), ("data",), (kind,), devices=jax.devices()[:count])


def rows_over(count, kind=AxisType.Auto):
    return NamedSharding(mesh_of(count, kind), P("data"))


def rounded(rows, count):
    return -(-rows // count) * count


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(sorted(FORMS)),
    count=st.sampled_from([1, 2, 3, 4]),
    kind=st.sampled_from([AxisType.Auto, AxisType.Explicit]),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    on_host=st.booleans(),
)
def test_every_batch_is_filled_and_says_which_rows_are_real(form, count, kind, sizes, on_host):
    make, parts = FORMS[form]
    sharding, array = rows_over(count, kind), np.asarray if on_host else jnp.asarray
    if count == 1 and not on_host:
        return  # they are there already
    batches = [make(array(np.arange(n * 2).reshape(n, 2)), array(np.arange(n))) for n in sizes]
    made = list(data.prefetch_to_device(batches, sharding=sharding, pad=True))
    for number, (size, batch) in enumerate(zip(sizes, made, strict=True)):
        first = sizes[0] if number else size
        x, y, valid = parts(batch)
        assert valid.tolist() == [True] * size + [False] * (len(valid) - size)
        assert len(valid) == max(rounded(size, count), rounded(first, count))
        for leaf in (x, y, valid):
            assert leaf is None or leaf.sharding == sharding
        x = np.asarray(x)
        np.testing.assert_array_equal(x[:size], np.arange(size * 2).reshape(size, 2))
        assert {*x[:, 0].tolist()} == {*range(0, size * 2, 2)}  # copies of real rows


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("pad_last", [False, True])
@pytest.mark.parametrize("form", ["dict", "tuple", "array"])
def test_a_loader_may_have_marked_them_before(form, pad_last, count):
    i = np.arange(10)
    arrays = {"dict": {"i": i}, "tuple": (i, i > 4), "array": i}[form]
    loader = data.DataLoader(data.ArrayDataset(arrays), 6, pad_last=pad_last)
    seen = []
    for batch in data.prefetch_to_device(loader, sharding=rows_over(count), pad=True):
        rows = batch["i"] if form == "dict" else batch[0]
        valid = batch["valid"] if form == "dict" else batch[-1]
        assert len(batch) == (3 if form == "tuple" else 2)
        assert len(rows) == len(valid) == rounded(6, count)
        seen += np.asarray(rows)[np.asarray(valid)].tolist()
    assert seen == list(range(10))


def test_without_a_sharding_nothing_is_compiled_again_for_a_last_batch():
    loader = data.DataLoader(data.ArrayDataset({"i": np.arange(10)}), 4)
    shapes = {batch["i"].shape for batch in data.prefetch_to_device(loader, pad=True)}
    assert shapes == {(4,)}


REFUSED = {
    "a last batch": (10, {}, "has 2 rows, which the 4 devices"),
    "every batch": (16, {"batch_size": 6}, "has 6 rows"),
    "a padded one": (10, {"batch_size": 6, "pad_last": True}, "has 6 rows"),
    "a transformed one": (16, {"batch_transforms": [lambda b: {"i": b["i"][:3]}]}, "has 3 rows"),
}


@pytest.mark.parametrize(("samples", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_the_devices_do_not_divide_is_refused_at_once(samples, options, message):
    loader = data.DataLoader(
        data.ArrayDataset({"i": np.arange(samples)}), **{"batch_size": 8, **options}
    )
    with pytest.raises(ValueError, match=message) as caught:
        list(data.prefetch_to_device(loader, sharding=rows_over(4)))
    if "batch_transforms" not in options:
        with pytest.raises(ValueError, match=message):
            data.prefetch_to_device(loader, sharding=rows_over(4))
    for way in ("pad_last=True", "multiple of 4", "pad=True"):
        assert way in str(caught.value)


def test_what_divides_keeps_its_structure():
    for options in ({"drop_last": True}, {"pad_last": True}, {}):
        samples = 10 if options else 16
        loader = data.DataLoader(data.ArrayDataset((np.arange(samples),)), 8, **options)
        batches = list(data.prefetch_to_device(loader, sharding=rows_over(4)))
        assert {len(batch) for batch in batches} == {1 + ("pad_last" in options)}


def test_arrays_without_rows():
    mesh = mesh_of(4)
    rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    batch = {"x": np.ones((6, 2)), "scale": np.float32(2), "classes": np.arange(3), "name": ["a"]}
    with pytest.raises(ValueError, match=r"got \[3, 6\].*'classes': whole"):
        list(data.prefetch_to_device([batch], sharding=rows, pad=True))
    sharding = {"x": rows, "scale": rows, "classes": whole, "name": rows}
    (made,) = data.prefetch_to_device([batch], sharding=sharding, pad=True)
    assert made["classes"].tolist() == [0, 1, 2]
    assert made["x"].shape == (8, 2)
    assert made["valid"].sharding == rows
    assert made["scale"].sharding == whole
    assert made["name"] == ["a"]


def test_global_arrays_stay_and_keys_go_along():
    rows = rows_over(4)
    there = {"x": jax.device_put(np.arange(8.0), rows)}
    (same,) = data.prefetch_to_device([there], sharding=rows, pad=True)
    assert same is there
    keys = {"key": jax.random.split(jax.random.key(0), 4), "x": jnp.arange(4)}
    (made,) = data.prefetch_to_device([keys], sharding=rows)
    assert {leaf.sharding for leaf in jax.tree.leaves(made)} == {rows}


def test_an_empty_batch_has_nothing_to_copy():
    with pytest.raises(ValueError, match="without rows"):
        list(data.prefetch_to_device([np.ones(0)], sharding=rows_over(2), pad=True))


def test_a_stream_is_not_split_in_silence():
    stream = data.filter(bool, range(10))
    with pytest.raises(ValueError, match=r"incomplete last batch.*2 shards"):
        data.DataLoader(stream, 4, shard=(0, 2))


def test_the_shards_of_shardings():
    kinds = (AxisType.Auto,) * 2
    for axes, names in itertools.product(((2, 2), (4, 1)), (("a", "b"), ("b", "a"))):
        mesh = jax.make_mesh(axes, names, kinds)
        for spec in (P("a"), P(("a", "b")), P(None, "a"), P()):
            loader = data.DataLoader(range(8), 8, shard=NamedSharding(mesh, spec))
            assert loader.shard == (0, 1)
    assert data.DataLoader(range(8), shard="process").shard == (0, 1)
