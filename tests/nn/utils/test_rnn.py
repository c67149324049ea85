"""Padding sequences and taking them apart: as PyTorch does, and inside of traced functions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.nn.utils import rnn

LENGTHS = [(3, 1, 5), (2,), (0, 2), (4, 4)]
PRODUCTS = list(
    itertools.product(
        LENGTHS, [(), (2,), (2, 0)], [False, True], ["right", "left"], ["float32", "int32", "bool"]
    )
)


def sequences_of(rng, lengths, trailing, dtype):
    return [rng.integers(-5, 5, (length, *trailing)).astype(dtype) for length in lengths]


@pytest.mark.parametrize(("lengths", "trailing", "batch_first", "side", "dtype"), PRODUCTS[::2])
def test_as_pytorch(lengths, trailing, batch_first, side, dtype, rng):
    torch = pytest.importorskip("torch")
    given = sequences_of(rng, lengths, trailing, dtype)
    tensors = [torch.tensor(array) for array in given]
    fill = 1.0 if dtype == "bool" else -3.0
    theirs = torch.nn.utils.rnn.pad_sequence(tensors, batch_first, fill, side)
    ours = rnn.pad_sequence(given, batch_first, fill, side)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, theirs.numpy())
    if side == "right":
        known = torch.tensor(lengths)
        for a, b in zip(
            rnn.unpad_sequence(ours, np.array(lengths), batch_first),
            torch.nn.utils.rnn.unpad_sequence(theirs, known, batch_first),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b.numpy())


@pytest.mark.parametrize(("lengths", "trailing", "batch_first", "side", "dtype"), PRODUCTS[1::6])
def test_traced_it_is_the_same(lengths, trailing, batch_first, side, dtype, rng):
    given = sequences_of(rng, lengths, trailing, dtype)
    pad = lambda arrays: rnn.pad_sequence(arrays, batch_first, 1, side)
    np.testing.assert_array_equal(jax.jit(pad)(given), pad(given))
    # constants beside traced arrays
    np.testing.assert_array_equal(jax.jit(lambda x: pad([x, *given[1:]]))(given[0]), pad(given))


def test_there_and_back_inside_of_a_gradient(rng):
    given = sequences_of(rng, (3, 1, 5), (2,), "float32")

    @jax.jit
    @jax.grad
    def slopes(arrays):
        padded = rnn.pad_sequence(arrays, padding_value=jnp.inf)
        back = rnn.unpad_sequence(padded, [3, 1, 5])
        return sum((k + 1) * (part**2).sum() for k, part in enumerate(back))

    for k, (slope, array) in enumerate(zip(slopes(given), given, strict=True)):
        np.testing.assert_allclose(slope, 2 * (k + 1) * array)


def test_an_array_is_a_sequence_of_its_rows_and_dtypes_are_promoted():
    rows = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(rnn.pad_sequence(rows, batch_first=True), rows)
    assert (
        rnn.pad_sequence([jnp.ones(2, jnp.bfloat16), jnp.ones(1, jnp.float16)]).dtype == jnp.float32
    )
    assert rnn.pad_sequence([[1, 2], [3]], batch_first=True).tolist() == [[1, 2], [3, 0]]
    assert rnn.pad_sequence(iter([[1.5], [2.5, 3.5]])).shape == (2, 2)


X = np.ones((3, 2), np.float32)

REFUSED = {
    "nothing": (lambda: rnn.pad_sequence([]), ValueError, "at least one"),
    "a number": (lambda: rnn.pad_sequence(3), TypeError, "list of arrays; got int"),
    "numbers": (lambda: rnn.pad_sequence([1, 2]), ValueError, "that at 0 is the number 1"),
    "other features": (lambda: rnn.pad_sequence([np.ones((2, 3)), np.ones((2, 4))]), ValueError, r"at 1 has \(2, 4\)"),
    "an unknown side": (lambda: rnn.pad_sequence([[1]], padding_side="top"), ValueError, "'right', 'left'"),
    "half of an integer": (lambda: rnn.pad_sequence([[1]], padding_value=0.5), ValueError, "padding_value=0.5"),
    "nan as an integer": (lambda: rnn.pad_sequence([[1]], padding_value=np.nan), ValueError, "padding_value=nan"),
    "one axis": (lambda: rnn.unpad_sequence(jnp.ones(3), [1]), ValueError, r"\(T, N, \*\)"),
    "too few lengths": (lambda: rnn.unpad_sequence(X, [1]), ValueError, r"shape \(2,\)"),
    "too long": (lambda: rnn.unpad_sequence(X, [1, 4]), ValueError, r"\[0, 3\]"),
    "lengths of floats": (lambda: rnn.unpad_sequence(X, [1.0, 2.0]), TypeError, "integers"),
    "traced lengths": (
        lambda: jax.jit(lambda n: rnn.unpad_sequence(X, n))(np.array([1, 2])), TypeError, "F.length_mask",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()
