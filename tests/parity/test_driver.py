"""The driver can fail: a softmax with one fault is found by the part of a row that looks for it."""

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from tests.parity import Function, check, check_raises, close, rows, values

SOFTMAX = fn.functional.softmax
(ROW,) = rows([Function("softmax", kwargs={"dim": 1}, inputs=[(3, 4)])])


def _too_high(factor, dtype):
    return lambda x, dim: SOFTMAX(x, dim) * (factor if x.dtype == dtype else 1)


def _wrong_slope(factor, dtype):
    def softmax(x, dim):
        y = SOFTMAX(x, dim)
        return y + (factor - 1) * (y - jax.lax.stop_gradient(y)) if x.dtype == dtype else y

    return softmax


def _wrong_dtype(x, dim):
    return SOFTMAX(x.astype(jnp.float32) if x.dtype == jnp.bfloat16 else x, dim)


def _wrong_first_example(x, dim):
    @jax.custom_batching.custom_vmap
    def softmax(x):
        return SOFTMAX(x, dim)

    @softmax.def_vmap
    def _(size, batched, x):
        return SOFTMAX(x, dim + 1).at[0].multiply(2), True

    return softmax(x)


FAULTS = {
    "bfloat16: output 0": _too_high(1.05, jnp.bfloat16),
    "float32: output 0": _too_high(1 + 1e-4, jnp.float32),
    "float32: gradient 0": _wrong_slope(1 + 1e-3, jnp.float32),
    "bfloat16: output 0 has dtype float32": _wrong_dtype,
    "gradient of float input 0|finite differences": _wrong_slope(1 + 1e-4, jnp.float64),
}


@pytest.mark.parametrize("found", FAULTS)
def test_a_fault_is_found(found, monkeypatch):
    monkeypatch.setattr(fn.functional, "softmax", FAULTS[found])
    with pytest.raises(AssertionError, match=found):
        check(ROW)


def test_a_fault_of_one_example_of_a_batch_is_found(monkeypatch):
    monkeypatch.setattr(fn.functional, "softmax", _wrong_first_example)
    # a function with its own rule for batches has no gradient
    (row,) = rows([Function("softmax", kwargs={"dim": 1}, inputs=[(3, 4)], gradients=False)])
    with pytest.raises(AssertionError, match="vmap: output 0 of example 0"):
        check(row)


def test_a_refusal_must_be_the_one_that_is_named():
    row = Function("softmax", kwargs={"dim": 2}, inputs=[values([[1.0]])])
    check_raises(row.raises(ValueError, "out of bounds"))
    with pytest.raises(AssertionError, match="not 'groups'"):
        check_raises(row.raises(ValueError, "groups"))
    with pytest.raises(ValueError, match="out of bounds"):
        check_raises(row.raises(TypeError, "out of bounds"))
    with pytest.raises(AssertionError, match="not Exception"):
        check_raises(row.raises(Exception, "out of bounds"))


def test_near_is_relative_to_the_largest_of_theirs():
    close([1e-3, 1e-12], [1e-3, 0.0], 1e-8, "rounding beside a larger number")
    for ours, theirs, relative in [
        ([0.0], [0.029], 2e-2),
        ([1e-12], [0.0], 1e-9),
        ([1e-3, 1e-12], [1e-3, 2e-12], 1e-10),
    ]:
        with pytest.raises(AssertionError, match="lost"):
            close(ours, theirs, relative, "lost")
