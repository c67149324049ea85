"""Weights on disk: whole, exact, readable by PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet.core import errors
from tests.module.models import Dense, Nest, built


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int32", "uint8", "float16", "bfloat16", "float32", "complex64"]
)
def test_arrays_come_back_bit_for_bit(tmp_path, dtype):
    array = jnp.arange(6).reshape(2, 3).astype(dtype)
    path = fn.checkpoint.save_arrays(
        tmp_path / "deep" / "a.safetensors", {"x.y": array, "scalar": array[0, 0]}
    )
    back = fn.checkpoint.load_arrays(path)
    assert back["x.y"].dtype == array.dtype
    np.testing.assert_array_equal(back["x.y"], array)
    assert back["scalar"].shape == ()


def test_a_model_comes_back(tmp_path):
    module = Nest()
    _, params, state = built(module)
    path = fn.checkpoint.save_weights(tmp_path / "m.safetensors", module, params, state)
    again = fn.checkpoint.load_weights(path, module)
    for a, b in zip(jax.tree.leaves((params, state)), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        fn.checkpoint.load_arrays(tmp_path / "none.safetensors")
    path = fn.checkpoint.save_arrays(tmp_path / "a.safetensors", {"x": np.ones(100)})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        fn.checkpoint.load_arrays(path)
    good = fn.checkpoint.save_arrays(tmp_path / "b.safetensors", {"weight": np.ones((2, 9))})
    with pytest.raises(errors.StateDictError, match="bias"):
        fn.checkpoint.load_weights(good, Dense(3, 2))
