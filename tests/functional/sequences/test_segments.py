"""What is said of packed and padded sequences, against loops in NumPy, for rows drawn at random."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet import data
from funcnet import functional as F
from tests.sampling import sampled

COUNT = 4
LENGTH = 9


def rows_of(rng, leading):
    """Rows of segments in any order of their numbers, with padding anywhere between them."""
    ids = np.zeros((*leading, LENGTH), np.int32)
    for place in np.ndindex(*leading):
        numbers = rng.permutation(COUNT) + 1
        start = 0
        for number in numbers[: rng.integers(0, COUNT + 1)]:
            start += rng.integers(0, 2)
            end = min(start + rng.integers(1, 4), LENGTH)
            ids[place][start:end] = number
            start = end
    return ids


def segment(values, ids, number):
    return values[ids == number]


EXPECTED = {
    "segment_sum": lambda part, like: part.sum(0) if len(part) else like,
    "segment_mean": lambda part, like: part.mean(0) if len(part) else like,
    "segment_take 0": lambda part, like: part[0] if len(part) else like,
    "segment_take -1": lambda part, like: part[-1] if len(part) else like,
    "segment_take 1": lambda part, like: part[1] if len(part) > 1 else like,
    "segment_take -2": lambda part, like: part[-2] if len(part) > 1 else like,
}


PRODUCTS = list(
    itertools.product(EXPECTED, [(), (3,), (2, 2)], [(), (2,)], ["float32", "bfloat16"])
)


@pytest.mark.parametrize("case", range(len(PRODUCTS)), ids=lambda n: str(PRODUCTS[n]))
def test_a_value_of_each_segment(case, rng, request):
    sampled(request, case % 5 == 0)
    name, leading, trailing, dtype = PRODUCTS[case]
    ids = rows_of(rng, leading)
    values = rng.integers(-8, 8, (*ids.shape, *trailing)).astype(np.float32)
    function, *position = name.split()
    call = lambda values, ids: getattr(F, function)(values, ids, COUNT, *map(int, position))
    expected = np.zeros((*leading, COUNT, *trailing), np.float32)
    for place in np.ndindex(*leading):
        for number in range(COUNT):
            part = segment(values[place], ids[place], number + 1)
            expected[place][number] = EXPECTED[name](part, np.zeros(trailing))
    values[ids == 0] = np.nan
    given = jnp.asarray(values, dtype)
    found = jax.jit(call)(given, ids)
    assert found.dtype == dtype
    # sums of small integers are exact, means are rounded once
    np.testing.assert_allclose(
        np.asarray(found, np.float32), expected, rtol=5e-3 if dtype == "bfloat16" else 1e-6
    )
    grad = jax.jit(jax.grad(lambda x: call(x, ids).astype(jnp.float32).sum()))(given)
    assert np.isfinite(np.asarray(grad, np.float32)).all()
    assert (np.asarray(grad)[ids == 0] == 0).all()
    mapped = jax.jit(jax.vmap(call))(given[None], ids[None])[0]
    np.testing.assert_array_equal(np.asarray(mapped, np.float32), np.asarray(found, np.float32))


@pytest.mark.parametrize("leading", [(), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", ["int32", "int8", "uint8"])
def test_lengths_and_positions_of_segments(leading, dtype, rng):
    ids = rows_of(rng, leading)
    lengths = F.segment_lengths(ids.astype(dtype), COUNT)
    positions = np.asarray(F.segment_positions(ids.astype(dtype)))
    assert lengths.shape == (*leading, COUNT)
    assert (positions[ids == 0] == 0).all()
    for place in np.ndindex(*leading):
        for number in range(COUNT):
            own = positions[place][ids[place] == number + 1]
            assert own.tolist() == list(range(len(own)))
            assert lengths[place][number] == len(own)


def test_positions_in_a_long_row_of_small_numbers():
    ids = np.ones(300, np.int8)
    assert F.segment_positions(ids).tolist() == list(range(300))
    assert F.length_mask(np.array([250], np.uint8), 300).sum() == 250


@pytest.mark.parametrize("split", [True, False])
def test_positions_are_those_of_pack(split, rng):
    documents = [rng.integers(1, 9, size) for size in rng.integers(1, 6, 12)]
    for row in data.pack(documents, 7, split=split):
        found = np.asarray(F.segment_positions(row["segment_ids"]))
        first = row["positions"][0]  # of a document that was cut
        own = np.where(row["segment_ids"] == 1, row["positions"] - first, row["positions"])
        np.testing.assert_array_equal(found, own)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("leading", [(), (2,), (2, 2)])
def test_the_mask_joins_what_is_of_one_segment(leading, causal, rng):
    ids = rows_of(rng, leading)
    found = np.asarray(jax.jit(lambda x: F.segment_mask(x, causal=causal))(ids))
    assert found.shape == (*leading, 1, LENGTH, LENGTH)
    for place in np.ndindex(*leading):
        for i, j in np.ndindex(LENGTH, LENGTH):
            row = ids[place]
            assert found[place][0, i, j] == (row[i] == row[j] > 0 and (j <= i or not causal))


def test_the_mask_between_two_packed_rows_goes_by_numbers():
    found = F.segment_mask(np.array([2, 1, 0]), np.array([1, 2, 2, 0], np.int8))
    assert found[0].astype(int).tolist() == [[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("leading", [(), (4,), (2, 2)])
def test_lengths_as_a_mask(leading, side, rng):
    lengths = rng.integers(0, 6, leading)
    mask = np.asarray(jax.jit(lambda x: F.length_mask(x, 5, padding_side=side))(lengths))
    np.testing.assert_array_equal(mask.sum(-1), lengths)
    whole = np.sort(mask, -1)
    np.testing.assert_array_equal(mask, whole if side == "left" else whole[..., ::-1])


def test_next_tokens_end_with_their_segment():
    tokens, ids = np.array([[5, 6, 7, 8, 9, 0]], np.uint8), np.array([[1, 1, 2, 2, 2, 0]])
    assert F.next_token_targets(tokens, ids).tolist() == [[6, -100, 8, 9, -100, -100]]
    assert F.next_token_targets(tokens, ignore_index=-1).tolist() == [[6, 7, 8, 9, 0, -1]]


@pytest.mark.parametrize("spec", [("data",), (None, "data")], ids=str)
def test_on_a_mesh_they_are_the_same_however_rows_are_spread(spec):
    ids = np.array([[1, 1, 1, 2, 2, 0, 0, 0], [3, 3, 4, 4, 4, 4, 1, 0]] * 2)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))

    @jax.jit
    def run(ids):
        return (
            F.segment_positions(ids),
            F.segment_mask(ids, causal=True),
            F.next_token_targets(ids, ids),
            F.segment_mean(ids.astype(jnp.float32), ids, COUNT),
        )

    expected = run(ids)
    with jax.set_mesh(mesh):
        found = run(jax.device_put(ids, NamedSharding(mesh, PartitionSpec(*spec))))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_numbers_of_8_bits_beside_larger_ones():
    ids = np.array([1, 1, 44, 0], np.int8)
    assert not F.segment_mask(ids, np.array([300, 0, 0, 0])).any()
    for function in (F.segment_sum, F.segment_mean, F.segment_take):
        found = jax.jit(lambda x, ids, f=function: f(x, ids, 200))(np.ones(4, np.float32), ids)
        assert np.flatnonzero(found).tolist() == [0, 43]


def test_numbers_beyond_the_count_cannot_pass_for_a_result():
    ids, values = np.array([[1, 5], [1, 2]]), np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match=r"\[0, 2\]"):
        F.segment_sum(values, ids, 2)
    for function in (F.segment_sum, F.segment_mean):
        found = jax.jit(lambda x, ids, f=function: f(x, ids, 2))(values, ids)
        assert np.isnan(found).all(1).tolist() == [True, False]


REFUSED = {
    "floats": (lambda: F.segment_mask(np.ones(3)), TypeError, "integers"),
    "a scalar": (lambda: F.segment_positions(np.array(3)), ValueError, "scalar"),
    "causal between two": (lambda: F.segment_mask([1], [1], causal=True), ValueError, "key_segment_ids"),
    "two places": (lambda: F.segment_positions([1, 2, 1]), ValueError, "one run"),
    "too long": (lambda: F.length_mask([4], 3), ValueError, r"\[0, 3\]"),
    "below zero": (lambda: F.length_mask([-1], 3), ValueError, r"\[0, 3\]"),
    "lengths of floats": (lambda: F.length_mask([1.0], 3), TypeError, "integers"),
    "an unknown side": (lambda: F.length_mask([1], 3, padding_side="top"), ValueError, "'right', 'left'"),
    "no segments": (lambda: F.segment_lengths([1], 0), ValueError, "greater than zero"),
    "other axes": (lambda: F.segment_sum(jnp.ones((2, 4)), np.ones((2, 3), int), 1), ValueError, "begin with"),
    "sums of integers": (lambda: F.segment_sum(jnp.ones(2, int), [1, 1], 1), TypeError, "float"),
    "tokens of another shape": (lambda: F.next_token_targets([1, 2], [1]), ValueError, "one shape"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()
