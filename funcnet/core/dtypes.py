"""In which dtype to compute: 16-bit arrays are stored so, and computed with in float32."""

from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["at_least_float32"]


def at_least_float32(dtype: Any) -> np.dtype:
    """Return the dtype in which to take sums, means, norms and exponentials of an array.

    Floats of fewer than 32 bits become float32; wider floats and complex numbers stay as they are.
    Integers and booleans become float32 too, whatever their width, as in JAX's own promotion: a mean
    or a norm of them has a fraction, and a sum in int8 overflows after 127. What is exact in
    integers (a convolution of them, a sum over windows) does not ask this function.

    Args:
        dtype: of the array, or anything else that ``jnp.dtype`` takes.

    Returns:
        A dtype of at least 32 bits.

    Example:
        >>> at_least_float32(jnp.bfloat16), at_least_float32(jnp.int8), at_least_float32(jnp.complex64)
        (dtype('float32'), dtype('float32'), dtype('complex64'))
    """
    dtype = jnp.dtype(dtype)
    # jnp.promote_types would say the same, but refuses both float8 and, where promotion is strict,
    # every dtype but float32.
    if jnp.issubdtype(dtype, jnp.inexact) and dtype.itemsize >= 4:
        return dtype
    return jnp.dtype(jnp.float32)
