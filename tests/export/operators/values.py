"""Arrays of each dtype that hold its awkward numbers: ends of ranges, zeros of both signs, NaN, infinities."""

import jax.numpy as jnp
import numpy as np

FLOATS = ("float32", "float16", "bfloat16", "float64")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
WHOLE = SIGNED + UNSIGNED
NUMBERS = FLOATS + WHOLE
ALL = (*NUMBERS, "bool")


def awkward(dtype, strange=True):
    """The awkward numbers of a dtype, in a list; ``strange``: NaN and infinities too."""
    dtype = jnp.dtype(dtype)
    if dtype == np.bool_:
        return [False, True]
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        numbers = [
            0,
            1,
            2,
            3,
            7,
            -1,
            -2,
            -7,
            info.max,
            info.min,
            info.max - 1,
            info.min + 1,
            info.max // 2,
        ]
        return [n for n in numbers if info.min <= n <= info.max]
    numbers = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.25, -7.75, 20.0, -20.0, 0.001]
    return numbers + ([np.nan, np.inf, -np.inf] if strange else [])


def pairs(dtype, strange=True, other=None):
    """Two arrays in which every awkward number meets every other, more than once."""
    left = np.array(awkward(dtype, strange), jnp.dtype(dtype))
    right = np.array(awkward(other or dtype, strange), jnp.dtype(other or dtype))
    first, second = np.meshgrid(left, right, indexing="ij")
    return first.reshape(-1), second.reshape(-1)


def singles(dtype, strange=True):
    """The awkward numbers, and some common ones beside."""
    numbers = np.array(awkward(dtype, strange), jnp.dtype(dtype))
    common = array(np.random.default_rng(1), (40,), dtype)
    return np.concatenate([numbers, common])


def array(rng, shape, dtype, scale=3.0):
    """Random numbers of any dtype."""
    dtype = jnp.dtype(dtype)
    if dtype == np.bool_:
        return np.asarray(rng.random(shape) < 0.5)
    if jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        low, high = max(info.min, -50), min(info.max, 50)
        return np.asarray(rng.integers(low, high, shape)).astype(dtype)
    return np.asarray(rng.standard_normal(shape) * scale).astype(dtype)


def with_strange(rng, shape, dtype, share=0.15):
    """Random floats, some of them NaN or infinite, and zeros of both signs."""
    made = array(rng, shape, dtype)
    if jnp.issubdtype(made.dtype, jnp.floating):
        for number in (np.nan, np.inf, -np.inf, 0.0, -0.0):
            made = np.where(rng.random(shape) < share / 3, made.dtype.type(number), made)
    return made
