"""The rule of dtypes, held by every public function: `funcnet.core.dtypes` has the words.

The calls are traced and not run: a dtype is known without numbers, and so is a refusal.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from tests.functional.rows.calls import CALLS, LABELS, WHOLE_NUMBERS, WITHOUT

NAMES = sorted(CALLS)
PARAMETRIC = [name for name in NAMES if CALLS[name].params]


def _result(name, dtypes, default):
    """The dtypes of the floating results of a call whose arrays have the dtypes given by name."""
    call = CALLS[name]
    shapes = {
        key: jax.ShapeDtypeStruct(array.shape, dtypes.get(key, default))
        for key, array in call.arrays().items()
    }
    result = jax.eval_shape(lambda arrays: call.run(name, arrays), shapes)
    floats = [leaf.dtype for leaf in jax.tree.leaves(result) if leaf.dtype != jnp.int32]
    assert floats, "a call without a floating result"
    return {dtype.name for dtype in floats}


def test_every_public_function_has_a_call_or_a_reason():
    public = {
        name
        for name, value in vars(F).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public == set(CALLS) | set(WITHOUT)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_result_has_the_dtype_of_the_data(name, dtype):
    assert _result(name, {}, dtype) == {dtype}


@pytest.mark.parametrize("name", NAMES)
def test_64_bits_stay(name, x64):
    assert _result(name, {}, "float64") == {"float64"}


@pytest.mark.parametrize("name", PARAMETRIC)
@pytest.mark.parametrize(("data", "parameters"), [("bfloat16", "float32"), ("float32", "float16")])
def test_parameters_do_not_change_the_dtype(name, data, parameters):
    assert _result(name, dict.fromkeys(CALLS[name].params, parameters), data) == {data}


@pytest.mark.parametrize("name", NAMES)
def test_data_are_promoted_together(name):
    for key in list(CALLS[name].data)[1:]:
        assert _result(name, {key: "float32"}, "bfloat16") == {"float32"}, key
        assert _result(name, {key: "bfloat16"}, "float32") == {"float32"}, key
        assert _result(name, {key: "bfloat16"}, "float16") == {"float32"}, key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
def test_integers_and_booleans_are_refused_or_meant(name, dtype):
    call = CALLS[name]
    for key in call.data:
        if LABELS.get(name) == key:
            assert _result(name, {key: dtype}, "float16") == {"float16"}
        elif name not in WHOLE_NUMBERS:
            with pytest.raises(TypeError, match=rf"{key}.* has dtype {dtype}"):
                _result(name, {key: dtype}, "float32")
        elif dtype != "bool":  # whether booleans are whole numbers differs, as it does in PyTorch
            shapes = {k: jax.ShapeDtypeStruct(a.shape, dtype) for k, a in call.arrays().items()}
            results = jax.tree.leaves(jax.eval_shape(lambda arrays: call.run(name, arrays), shapes))
            assert results[0].dtype == dtype


def test_numbers_take_the_dtype_of_the_data():
    x = jnp.ones(3, jnp.bfloat16)
    assert F.mse_loss(x, 0).dtype == jnp.bfloat16
    assert F.gaussian_nll_loss(x, 0.5, 1).dtype == jnp.bfloat16
    assert F.poisson_nll_loss(x, 2).dtype == jnp.bfloat16
    assert F.mse_loss(x, np.float32(0)).dtype == jnp.float32  # a number of NumPy has a dtype


def test_what_is_rounded_is_rounded_once():
    """A chain of roundings to float16 would lose what is below a unit in the last place."""
    x = jnp.asarray(np.linspace(-8, 8, 401), jnp.float16)
    for function in (F.gelu, F.mish, F.silu, F.elu, F.selu, F.softplus, F.tanhshrink, F.softsign):
        rounded = function(x.astype(jnp.float32)).astype(jnp.float16)
        np.testing.assert_array_equal(function(x), rounded)
