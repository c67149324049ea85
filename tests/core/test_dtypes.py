"""In which dtype to compute."""

import jax
import jax.numpy as jnp
import pytest

from funcnet.core.dtypes import at_least_float32


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float8_e4m3fn", "float32"),
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("complex64", "complex64"),
        ("complex128", "complex128"),
        ("bool", "float32"),
        ("int8", "float32"),
        ("uint16", "float32"),
        ("int32", "float32"),
        ("int64", "float32"),
    ],
)
def test_every_kind_of_dtype_has_an_answer(dtype, expected):
    assert at_least_float32(dtype) == jnp.dtype(expected)


def test_it_says_what_promotion_with_float32_says(x64):
    """Where JAX's promotion has an answer: it has none for float8, nor where promotion is strict."""
    names = "float16 bfloat16 float32 float64 complex64 complex128 bool int8 uint8 int32 int64"
    with jax.numpy_dtype_promotion("standard"):
        promoted = {name: jnp.promote_types(name, "float32") for name in names.split()}
    assert {name: at_least_float32(name) for name in promoted} == promoted
