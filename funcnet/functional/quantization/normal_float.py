"""Normal floats of four bits: the 16 numbers at which a normal distribution is cut into equal parts."""

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats

__all__ = ["dequantize_nf4", "nf4_values", "quantize_nf4"]

_VALUES = np.array(
    [
        -1.0,
        -0.6961928009986877,
        -0.5250730514526367,
        -0.39491748809814453,
        -0.28444138169288635,
        -0.18477343022823334,
        -0.09105003625154495,
        0.0,
        0.07958029955625534,
        0.16093020141124725,
        0.24611230194568634,
        0.33791524171829224,
        0.44070982933044434,
        0.5626170039176941,
        0.7229568362236023,
        1.0,
    ],
    np.float32,
)
"""Appendix E of the paper."""

_EDGES = (_VALUES[1:] + _VALUES[:-1]) / 2


def nf4_values() -> Array:
    """Return the 16 numbers that a code of four bits stands for, in ascending order.

    Example:
        >>> F.nf4_values().shape, float(F.nf4_values()[7])
        ((16,), 0.0)

    Reference: Dettmers et al., QLoRA, 2023, https://arxiv.org/abs/2305.14314, appendix E.
    """
    return jnp.asarray(_VALUES)


def quantize_nf4(input: Array) -> Array:
    """Return the code of the nearest of the 16 numbers of `nf4_values`: the ``i`` with the least ``|x - v_i|``.

    Args:
        input: floats from -1 to 1, of any shape; larger ones get the code of -1 or 1, NaN any.

    Returns:
        uint8 from 0 to 15.

    Raises:
        TypeError: the input holds no floats.

    Example:
        >>> F.quantize_nf4(jnp.array([-3.0, 0.01, 0.3, 1.0])).tolist()
        [0, 7, 11, 15]

    Reference: Dettmers et al., QLoRA, 2023, https://arxiv.org/abs/2305.14314.
    """
    (input,) = as_floats("quantize_nf4", input=input)
    wide = input.astype(jnp.float32)[..., None]
    return (wide > jnp.asarray(_EDGES)).sum(-1, dtype=jnp.uint8)


def dequantize_nf4(codes: Array) -> Array:
    """Return the number that each code stands for.

    Args:
        codes: uint8 from 0 to 15.

    Returns:
        float32 from -1 to 1.

    Example:
        >>> F.dequantize_nf4(jnp.array([0, 7, 15], jnp.uint8)).tolist()
        [-1.0, 0.0, 1.0]

    Reference: Dettmers et al., QLoRA, 2023, https://arxiv.org/abs/2305.14314.
    """
    return jnp.asarray(_VALUES).at[codes].get(mode="promise_in_bounds")
