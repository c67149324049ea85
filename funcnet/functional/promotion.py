"""Data beside parameters of other dtypes: which dtype to compute in, and which comes out.

The rule is that of `funcnet.core.dtypes`: data decide what comes out, the widest of all what is computed in.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats, at_least_float32, is_float, widest

__all__ = ["add_bias", "with_parameters"]


def with_parameters(
    function: str, parameters: Mapping[str, Array | None], **data: Array
) -> tuple[np.dtype, *tuple[Any, ...]]:
    """Promote data and parameters together, for a sum of products.

    Integers are taken where all arrays hold them: such sums are exact. A complex parameter makes what comes
    out complex.

    Args:
        function: the name of the function that the user called, for the message.
        parameters: by the names of their arguments; those that are not given are None.
        **data: by the names of theirs: arrays of JAX or NumPy.

    Returns:
        The dtype of the result; the data and the parameters, in order, in the one to compute in.

    Raises:
        TypeError: booleans; or integers beside floats.

    Example:
        >>> half = jnp.ones(2, jnp.bfloat16)
        >>> dtype, x, weight, bias = with_parameters("linear", {"weight": jnp.ones(2), "bias": None}, input=half)
        >>> dtype, x.dtype, weight.dtype, bias
        (dtype(bfloat16), dtype('float32'), dtype('float32'), None)
    """
    values = (*data.values(), *parameters.values())
    first: Any = getattr(values[0], "dtype", None)
    if jnp.issubdtype(first, jnp.inexact) and all(_is_of(value, first) for value in values):
        return first, *values  # the usual case, without a single operation
    given = {name: value for name, value in parameters.items() if value is not None}
    dtypes = {jnp.result_type(value) for value in (*data.values(), *given.values())}
    if all(jnp.issubdtype(dtype, jnp.integer) for dtype in dtypes):
        result = computed = widest(*dtypes)
    else:
        as_floats(function, complex=True, **data, **given)  # names the argument that holds none
        result = widest(*(jnp.result_type(value) for value in data.values()))
        computed = widest(*dtypes)
        if jnp.issubdtype(computed, jnp.complexfloating):
            result = widest(result, jnp.complex64)
    arrays = (None if value is None else jnp.asarray(value).astype(computed) for value in values)
    return result, *arrays


def _is_of(value: Any, dtype: Any) -> bool:
    return value is None or (isinstance(value, jax.Array) and value.dtype == dtype)


def add_bias(output: Array, bias: Array) -> Array:
    """Add an array that broadcasts to another; its gradient is summed in 32 bits at least.

    >>> add_bias(jnp.ones((2, 3), jnp.bfloat16), jnp.ones(3, jnp.bfloat16)).dtype
    dtype(bfloat16)
    """
    if bias.dtype == at_least_float32(bias.dtype) or not is_float(bias):
        return output + bias  # its gradient is a sum in this dtype already; integers have none
    wide = at_least_float32(
        output.dtype
    )  # the sum too: under vmap it is there that the bias is spread
    return (output.astype(wide) + bias.astype(wide)).astype(output.dtype)
