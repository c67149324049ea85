"""Trees that are the same to the last bit: types, dtypes, kinds of arrays, signs of zeros."""

import dataclasses
import struct

import jax
import jax.numpy as jnp
import numpy as np


def assert_same(a, b, path="tree"):
    assert type(a) is type(b), f"{path}: {type(a)} and {type(b)}"
    if isinstance(a, dict):
        assert [*map(repr, a)] == [*map(repr, b)], path
        for (key, x), y in zip(a.items(), b.values(), strict=True):
            assert_same(x, y, f"{path}[{key!r}]")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{i}]")
    elif isinstance(a, float | complex) and not isinstance(a, np.generic):
        assert float_bits(a) == float_bits(b), f"{path}: {a} and {b}"
    elif isinstance(a, jax.Array | np.ndarray | np.generic):
        assert_same_array(a, b, path)
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            x, y = getattr(a, field.name), getattr(b, field.name)
            assert_same(x, y, f"{path}.{field.name}")
    else:
        assert a == b, f"{path}: {a!r} and {b!r}"


def float_bits(number):
    return struct.pack("dd", complex(number).real, complex(number).imag)


def assert_same_array(a, b, path):
    assert a.dtype == b.dtype, f"{path}: {a.dtype} and {b.dtype}"
    assert a.shape == b.shape, f"{path}: {a.shape} and {b.shape}"
    if isinstance(a, jax.Array):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert a.weak_type == b.weak_type, path
    assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), path
