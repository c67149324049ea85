"""Declaring arrays that are already there: class weights, pretrained tables."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from funcnet.core.aliases import Array
from funcnet.module import Buffer
from funcnet.nn import init

__all__ = ["given", "given_buffer"]


def given(declare: Callable[..., Array], value: Any) -> Array:
    """Declare a `Parameter` or `Buffer` that starts from an array of JAX, NumPy or PyTorch.

    >>> from funcnet.nn.init.existing import given
    >>> given(fn.Parameter, np.ones(3, np.float32)).shape
    (3,)
    """
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    return declare(value.shape, init.array(value), dtype)


def given_buffer(value: Any) -> Array | None:
    """Declare a buffer that starts from an array; pass ``None`` on.

    >>> from funcnet.nn.init.existing import given_buffer
    >>> given_buffer(None) is None, given_buffer([1.0, 2.0]).shape
    (True, (2,))
    """
    return None if value is None else given(Buffer, value)
