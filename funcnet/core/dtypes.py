"""In which dtype to compute: 16-bit arrays are stored so, and reduced in float32."""

from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["at_least_float32"]


def at_least_float32(dtype: Any) -> np.dtype:
    """Return float32 for dtypes of 16 bits or fewer, and other floating dtypes as they are.

    >>> at_least_float32(jnp.bfloat16), at_least_float32(jnp.float32)
    (dtype('float32'), dtype('float32'))
    """
    dtype = jnp.dtype(dtype)
    if jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4:
        return jnp.dtype(jnp.float32)
    return dtype
