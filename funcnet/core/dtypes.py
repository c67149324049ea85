"""The rule of dtypes that every function of `funcnet.functional` keeps.

1. What is meant to be a float refuses integers and booleans in one sentence (`as_floats`): a softmax of
   integers would be zeros and ones.
2. Data decide. The floating data of one call (an input; query, key and value; an input and its target) are
   promoted together as ``jnp.promote_types`` does (bfloat16 with float16 gives float32), and the result has
   that dtype. Parameters and statistics (weight, bias, running mean) are computed with as they are, in the
   wider of both dtypes, but do not change the dtype of what comes out.
3. Sums, means, norms, exponentials and what is built from them are computed in 32 bits at least (`widened`,
   `at_least_float32`) and rounded once.
4. A parameter that is spread over a batch (a bias, a scale, a positional table) is spread in 32 bits at least
   (`spread`): its gradient is a sum over the batch, and a sum in 16 bits stops growing after 256 ones.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array

__all__ = ["as_floats", "at_least_float32", "is_float", "spread", "widened", "widest"]


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


def is_float(value: Any, *, complex: bool = False) -> bool:
    """Say whether an array holds real floats; with ``complex``, whether real or complex ones.

    Example:
        >>> is_float(jnp.ones(2, jnp.bfloat16)), is_float(jnp.ones(2, int)), is_float(jnp.ones(2, jnp.complex64))
        (True, False, False)
    """
    return jnp.issubdtype(jnp.result_type(value), jnp.inexact if complex else jnp.floating)


def widest(*dtypes: Any) -> np.dtype:
    """Return the dtype that floats of several dtypes are promoted to; the same where promotion is strict.

    Example:
        >>> widest(jnp.bfloat16, jnp.float16), widest(jnp.bfloat16, jnp.bfloat16)
        (dtype('float32'), dtype(bfloat16))
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.dtype(jnp.result_type(*(jnp.dtype(dtype) for dtype in dtypes)))


def as_floats(function: str, *, complex: bool = False, **arrays: Any) -> tuple[Array, ...]:
    """Check that data are floats and promote them together: points 1 and 2 of the rule.

    Args:
        function: the name of the function that the user called, for the message.
        complex: whether complex numbers are taken too.
        **arrays: the data by the names of their arguments: arrays of JAX or NumPy; or Python's numbers,
            which take the dtype of the others.

    Returns:
        The arrays, in the order given, all of one dtype.

    Raises:
        TypeError: one holds integers, booleans or, unless they are taken, complex numbers.

    Example:
        >>> a, b = as_floats("mse_loss", input=jnp.ones(2, jnp.bfloat16), target=np.ones(2, np.float32))
        >>> a.dtype, b.dtype
        (dtype('float32'), dtype('float32'))
    """
    made = []
    for name, value in arrays.items():
        if type(value) in (int, float):  # not bool, nor NumPy's own numbers, which have a dtype
            value = float(value)
        array = value if isinstance(value, jax.Array) else _array_of(function, name, value)
        if not is_float(array, complex=complex):
            kind = "floating-point or complex numbers" if complex else "floating-point numbers"
            raise TypeError(
                f"{function} takes {kind}; {name} has dtype {array.dtype.name}: write "
                f"{name}.astype(jnp.float32)"
            )
        made.append(array)
    dtype = made[0].dtype
    if all(array.dtype == dtype for array in made):
        return tuple(made)
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.result_type(*made)  # what began as a Python number gives way to the others
    return tuple(array.astype(dtype) for array in made)


def _array_of(function: str, name: str, value: Any) -> Array:
    if isinstance(value, tuple) and any(isinstance(part, dict) for part in value):
        raise TypeError(
            f"{function} takes an array; {name} is a tuple of {len(value)}. If it is what apply returned, "
            "write output, state = net.apply(params, state, x)"
        )
    return jnp.asarray(value)


def widened(
    function: str, *, complex: bool = False, **arrays: Any
) -> tuple[np.dtype, *tuple[Array, ...]]:
    """Prepare data for a formula that is computed in 32 bits at least: points 1, 2 and 3 of the rule.

    Args:
        function: the name of the function that the user called, for the message.
        complex: whether complex numbers are taken too.
        **arrays: as in `as_floats`.

    Returns:
        The dtype to round the result to, and the arrays, in 32 bits at least.

    Raises:
        TypeError: as `as_floats`.

    Example:
        >>> dtype, x = widened("silu", input=jnp.ones(2, jnp.bfloat16))
        >>> dtype, x.dtype
        (dtype(bfloat16), dtype('float32'))
    """
    made = as_floats(function, complex=complex, **arrays)
    dtype = made[0].dtype
    wide = at_least_float32(dtype)
    return dtype, *(array.astype(wide) for array in made)


def spread(parameter: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Broadcast a parameter so that its gradient is summed in 32 bits at least: point 4 of the rule.

    Going through float32 costs nothing forwards, where XLA drops it, and makes the sum that is the
    broadcast's transpose one of float32.

    Args:
        parameter: broadcasts to ``shape``.
        shape: of the result.
        dtype: of the result.

    Example:
        >>> spread(jnp.ones(3, jnp.bfloat16), (2, 3), jnp.bfloat16).dtype
        dtype(bfloat16)
        >>> bias = jnp.zeros((), jnp.bfloat16)
        >>> float(jax.grad(lambda b: spread(b, (4096,), jnp.bfloat16).astype(jnp.float32).sum())(bias))
        4096.0
    """
    wide = jnp.broadcast_to(parameter.astype(at_least_float32(parameter.dtype)), shape)
    return wide.astype(dtype)
