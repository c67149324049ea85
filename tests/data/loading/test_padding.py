"""`data.pad`: batches of samples of unequal length, by products of settings, samplers and workers."""

import dataclasses
import itertools
import pickle
import subprocess
import sys
from collections import UserDict, namedtuple

import numpy as np
import pytest

from funcnet import data

LENGTHS = [3, 1, 4, 0, 5, 2, 2]


def samples_of(rng, dtype="int32", inner=()):
    made = []
    for number, length in enumerate(LENGTHS):
        tokens = rng.integers(1, 50, (length, *inner)).astype(dtype)
        made.append({"tokens": tokens, "label": number})
    return made


SETTINGS = [
    ({}, 5),
    ({"multiple_of": 4}, 8),
    ({"length": 6}, 6),
    ({"length": (16, 8)}, 8),
    ({"length": [2, 5, 9]}, 5),
]


@pytest.mark.parametrize(
    ("setting", "side", "inner", "dtype"),
    list(
        itertools.product(
            SETTINGS, ["right", "left"], [(), (2,)], ["int32", "uint8", "float64", "bool"]
        )
    ),
)
def test_what_is_filled_and_what_is_real(setting, side, inner, dtype, rng):
    samples = samples_of(rng, dtype, inner)
    settings, size = setting
    batch = data.pad({"tokens": 1}, side=side, **settings)(samples)
    assert list(batch) == ["tokens", "label", "lengths", "mask"]
    assert batch["tokens"].shape == (len(samples), size, *inner)
    assert batch["tokens"].dtype == dtype
    assert batch["lengths"].dtype == np.int32
    assert batch["lengths"].tolist() == LENGTHS
    for row, mask, sample in zip(batch["tokens"], batch["mask"], samples, strict=True):
        np.testing.assert_array_equal(row[mask], sample["tokens"])
        assert (row[~mask] == 1).all()
        assert (np.sort(mask)[:: 1 if side == "left" else -1] == mask).all()


@pytest.mark.parametrize("workers", [(0, "thread"), (2, "thread"), (2, "process")], ids=str)
@pytest.mark.parametrize("order", ["batch_size", "bucket", "batches", "padded last"])
def test_every_loader_gives_the_same(order, workers, rng):
    samples = samples_of(rng)
    options = {
        "batch_size": {"batch_size": 3},
        "bucket": {"batch_sampler": data.BucketSampler(LENGTHS, 3)},
        "batches": {"batch_sampler": [[4, 0], [1, 3, 2]]},
        "padded last": {"batch_size": 3, "pad_last": True},
    }[order]
    count, kind = workers
    collate = data.pad({"tokens": -1}, multiple_of=2)
    loader = data.DataLoader(samples, num_workers=count, workers=kind, collate=collate, **options)
    plain = data.DataLoader(samples, **{**options, "pad_last": False}, collate=list)
    seen = 0
    for batch, expected in zip(loader, plain, strict=True):
        for k, sample in enumerate(expected):
            seen += 1
            assert batch["label"][k] == sample["label"]
            assert batch["tokens"][k][batch["mask"][k]].tolist() == sample["tokens"].tolist()
        assert batch["tokens"].shape[1] % 2 == 0
        assert ("valid" in batch) == (order == "padded last")
    assert seen == (5 if order == "batches" else len(samples))


def test_a_stream_is_padded_too(rng):
    stream = data.map(
        lambda sample: sample["tokens"],
        data.filter(lambda s: len(s["tokens"]) > 1, samples_of(rng)),
    )
    batches = list(data.DataLoader(stream, 2, collate=data.pad()))
    assert [lengths.tolist() for _, lengths, _ in batches] == [[3, 4], [5, 2], [2]]


def test_lists_are_arrays_in_the_dtypes_of_jax(rng):
    made = {
        kind: data.pad()([[kind(1)], [kind(2), kind(3)], []])[0]
        for kind in (int, float, bool, complex)
    }
    assert [str(array.dtype) for array in made.values()] == [
        "int32",
        "float32",
        "bool",
        "complex64",
    ]
    assert data.pad()([[2**40], [1]])[0].dtype == np.int64
    assert data.pad()([[[1, 2], [3, 4]], []])[0].shape == (2, 2, 2)
    arrays = samples_of(rng)
    listed = [{**sample, "tokens": sample["tokens"].tolist()} for sample in arrays]
    for a, b in zip(
        data.pad({"tokens": 0})(listed).values(),
        data.pad({"tokens": 0})(arrays).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_a_value_for_each_field_and_the_rest_as_collate_does(rng):
    samples = [
        {
            "input_ids": [1] * n,
            "labels": np.ones(n, int),
            "box": [1, 2],
            "text": "a",
            "none": None,
            "image": np.ones((2, 2)),
        }
        for n in (2, 3)
    ]
    batch = data.pad({"labels": -100, "*_ids": 7})(samples)
    assert batch["input_ids"].tolist() == [[1, 1, 7], [1, 1, 1]]
    assert batch["labels"].tolist() == [[1, 1, -100], [1, 1, 1]]
    rest = [{name: sample[name] for name in ("box", "text", "none", "image")} for sample in samples]
    expected = data.collate(rest)
    assert str({name: batch[name] for name in expected}) == str(expected)


@pytest.mark.parametrize("mask", [None, "m", "{}_m"])
@pytest.mark.parametrize("lengths", [None, "n", "{}_n"])
def test_the_names_of_the_entries(lengths, mask):
    one = lengths != "{}_n" or mask != "{}_m"
    samples = [
        {"source": np.ones(n), "in": {"target": np.ones(n if one else 2 * n)}} for n in (1, 3)
    ]
    batch = data.pad(lengths=lengths, mask=mask)(samples)
    expected = [
        name.replace("{}", field)
        for name in (lengths, mask)
        if name
        for field in ("source", "in.target")
    ]
    assert list(batch) == ["source", "in", *dict.fromkeys(expected)]
    if lengths is not None and mask is not None and not one:
        assert batch["in.target_n"].tolist() == [2, 6]
        assert batch["in.target_m"].shape == batch["in"]["target"].shape == (2, 6)


Pair = namedtuple("Pair", "tokens label")


@dataclasses.dataclass
class Sample:
    tokens: np.ndarray
    label: int


def test_every_container():
    arrays = [np.arange(n) for n in (2, 4)]
    pad = data.pad()
    padded, lengths, mask = pad(arrays)
    assert padded.tolist() == [[0, 1, 0, 0], [0, 1, 2, 3]]
    assert [x.tolist() for x in pad([(a, 5) for a in arrays])] == [
        padded.tolist(),
        [5, 5],
        [2, 4],
        mask.tolist(),
    ]
    for kind in (Pair, Sample):
        made, *entries = pad([kind(a, 5) for a in arrays])
        assert type(made) is kind
        assert made.tokens.tolist() == padded.tolist()
        assert entries[0].tolist() == lengths.tolist()
    assert list(pad([UserDict(tokens=a.tolist()) for a in arrays])) == ["tokens", "lengths", "mask"]
    jnp = pytest.importorskip("jax.numpy")
    assert pad([jnp.arange(2), jnp.arange(4)])[0].tolist() == padded.tolist()


def test_a_field_that_no_sample_has_stays_none(rng):
    samples = [{"tokens": np.ones(n), "labels": None} for n in (1, 2)]
    for pad in (data.pad(), data.pad({"tokens": 0, "labels": -100})):
        batch = pad(samples)
        assert batch["labels"] == [None, None]
        assert batch["lengths"].tolist() == [1, 2]


def test_it_goes_to_another_process():
    pad = pickle.loads(pickle.dumps(data.pad({"x": 2}, length=(4, 8))))
    assert pad([{"x": [1]}])["x"].tolist() == [[1, 2, 2, 2]]


def test_no_jax_is_imported():
    code = "import sys; from funcnet import data; data.pad()([[1], [2, 3]]); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


A = np.ones((2, 3))

REFUSED = {
    "a side": (lambda: data.pad(side="top"), "'right', 'left'"),
    "no length": (lambda: data.pad(length=0), "greater than zero"),
    "no lengths": (lambda: data.pad(length=()), "empty"),
    "no call": (lambda: data.DataLoader([[1]], collate=data.pad), r"write collate=data.pad\(\)"),
    "samples": (lambda: data.pad([[1], [1, 2]]), r"data.pad\(\)\(samples\)"),
    "a field alone": (lambda: data.pad("tokens"), "got 'tokens'"),
    "no value": (lambda: data.pad({"tokens": None}), "got None for 'tokens'"),
    "half a length": (lambda: data.pad(length=2.5), "whole number"),
    "both": (lambda: data.pad(length=8, multiple_of=8), "exclude"),
    "no samples": (lambda: data.pad()([]), "at least one sample"),
    "other features": (
        lambda: data.pad()([{"x": A}, {"x": A.T}]), r"x may differ in its first axis only; .* \(3, 2\) in sample 1",
    ),
    "other features of an array": (lambda: data.pad()([A, A.T]), "the array may differ in its first axis only"),
    "too long": (lambda: data.pad(length=[1, 2])([{"x": [1]}, {"x": [1] * 3}]), "x has length 3 in sample 1.*h=2"),
    "fields that differ": (
        lambda: data.pad()([{"x": [1], "y": [1]}, {"x": [1], "y": [1] * 2}]), "1 x has length 1 and y has 2.*{}_m",
    ),
    "a value of another kind": (lambda: data.pad(0.5)([{"x": [1]}]), "of x, the value=0.5 is no number that int32"),
    "a value out of range": (lambda: data.pad(-1)([np.ones(2, np.uint8)]), "value=-1 is no number that uint8"),
    "too large a value": (lambda: data.pad(1e9)([np.ones(2, np.float16)]), "value=1000000000.0 is no number"),
    "no such field": (lambda: data.pad({"z": 0})([{"x": [1, 2]}]), r"no field 'z'; they have \['x'\]"),
    "nothing to fill": (lambda: data.pad()([{"x": 1, "y": "a"}]), "no array or list of numbers to fill up"),
    "a number": (lambda: data.pad({"x": 0})([{"x": 1}]), "x must be an array .* in sample 0 it is 1"),
    "None in one sample": (lambda: data.pad()([{"x": [1]}, {"x": None}]), "x must be an array .* sample 1 it is None"),
    "an entry that is there": (lambda: data.pad()([{"x": [1], "mask": 1}]), "a field 'mask' already"),
    "another structure": (lambda: data.pad()([{"x": [1]}, {"y": [1]}]), "one structure"),
    "a shape that is not filled": (lambda: data.pad({"x": 0})([{"x": [1], "y": A}, {"x": [1], "y": A.T}]), "; y is"),
    "ragged lists within": (lambda: data.pad()([{"x": [[1], [2, 3]]}]), "x"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_where(name):
    call, words = REFUSED[name]
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_an_entry_of_the_name_that_the_mask_has_is_not_overwritten():
    rows = data.ArrayDataset({"x": np.arange(5), "valid": np.arange(5)})
    with pytest.raises(ValueError, match='entry "valid" of their own'):
        next(iter(data.DataLoader(rows, 4, pad_last=True)))
    assert next(iter(data.DataLoader(rows, 4)))["valid"].tolist() == [0, 1, 2, 3]
