"""Parameters and buffers that start from an array that is already there: class weights, pretrained tables."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from funcnet.core.aliases import Array
from funcnet.module import Buffer, Parameter
from funcnet.nn.init.constant import array

__all__ = ["buffer_from_array", "parameter_from_array"]


def parameter_from_array(value: Any) -> Array:
    """Declare a parameter that starts from an array of JAX, NumPy or PyTorch.

    >>> from funcnet.nn.init.from_array import parameter_from_array
    >>> parameter_from_array(np.ones(3, np.float32)).shape
    (3,)
    """
    return _declare(Parameter, value)


def buffer_from_array(value: Any) -> Any:
    """Declare a buffer that starts from an array; pass ``None`` on.

    >>> from funcnet.nn.init.from_array import buffer_from_array
    >>> buffer_from_array(None) is None, buffer_from_array([1.0, 2.0]).shape
    (True, (2,))
    """
    return None if value is None else _declare(Buffer, value)


def _declare(kind: Callable[..., Array], value: Any) -> Array:
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    return kind(value.shape, array(value), dtype)
