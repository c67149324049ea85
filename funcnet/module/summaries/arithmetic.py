"""How many operations of arithmetic one operation of a traced program does."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from funcnet.core.jax_internals.operations import operation_kind, settings_of
from funcnet.core.jax_internals.programs import Operation

__all__ = ["arithmetic_of", "is_product"]


def arithmetic_of(operation: Operation, backward: bool = False) -> int | None:
    """Count the operations on floats of one that runs no program of its own.

    A multiply and an add are two. Any other function of numbers, such as a division, a maximum or an ``exp``, is one
    for each number that it gives. What moves, chooses, compares, converts or draws is none, nor is what is done to
    integers.

    Args:
        operation: of a traced program.
        backward: whether it belongs to a backward pass, where the gradient of a kernel is a convolution too.

    Returns:
        The number; None if it is not known how to count.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.module.summaries.arithmetic import arithmetic_of
        >>> program, _ = trace(jnp.dot, jnp.ones((2, 3)), jnp.ones((3, 4)))
        >>> [arithmetic_of(each) for each in program.operations]
        [48]
    """
    kind = operation_kind(operation)
    if kind in _MOVES or not _gives_floats(operation):
        return 0
    if kind in _EACH:
        return _size(operation.results[0])
    if kind == "conv_general_dilated":
        return _convolution(operation, backward)
    count = _COUNTS.get(kind)
    return None if count is None else count(operation)


def is_product(operation: Operation) -> bool:
    """Say whether an operation is a product of matrices, a convolution, or an attention made of such products.

    Example:
        >>> from funcnet.core.jax_internals.programs import trace
        >>> from funcnet.module.summaries.arithmetic import is_product
        >>> program, _ = trace(lambda x, y: x @ y + 1, jnp.ones((2, 3)), jnp.ones((3, 4)))
        >>> [is_product(each) for each in program.operations]
        [True, False]
    """
    return operation_kind(operation) in _PRODUCTS


def _gives_floats(operation: Operation) -> bool:
    dtypes = [each.dtype for each in operation.results if hasattr(each, "dtype")]
    return any(jnp.issubdtype(dtype, jnp.inexact) for dtype in dtypes)


def _size(array: Any) -> int:
    return math.prod(array.shape)


def _product(operation: Operation) -> int:
    product = operation.product
    assert product is not None
    summed = math.prod(operation.operands[0].shape[axis] for axis in product.contracted[0])
    return 2 * _size(operation.results[0]) * summed


def _convolution(operation: Operation, backward: bool) -> int:
    """Each output meets each weight of its window, also where it lies on padding.

    Where inputs are fewer than outputs, as in a transposed convolution, each input meets each weight instead. In the
    gradient of such a one's kernel each of its inputs meets each output.
    """
    settings = settings_of(operation)
    images, filters = operation.operands[:2]
    outputs = operation.results[0]
    lhs, rhs, out = (settings[name] for name in ("lhs_spec", "rhs_spec", "out_spec"))
    meetings = 1
    for source, kernel, target in zip(lhs[2:], rhs[2:], out[2:], strict=True):
        inputs, weights, places = images.shape[source], filters.shape[kernel], outputs.shape[target]
        each = min(inputs, places) * weights
        meetings *= min(each, inputs * places) if backward else each
    batch, features, of_group = outputs.shape[out[0]], outputs.shape[out[1]], filters.shape[rhs[1]]
    return 2 * batch * features * meetings * of_group


def _ragged_product(operation: Operation) -> int:
    return 2 * _size(operation.results[0]) * operation.operands[0].shape[-1]


def _reduction(operation: Operation) -> int:
    return _size(operation.operands[0]) - _size(operation.results[0])


def _running(operation: Operation) -> int:
    return _size(operation.results[0])


def _windows(operation: Operation) -> int:
    window = settings_of(operation)["window_dimensions"]
    return _size(operation.results[0]) * (math.prod(window) - 1)


def _scattered(operation: Operation) -> int:
    return _size(operation.operands[-1])


def _power(operation: Operation) -> int:
    """Multiplications of repeated squaring."""
    exponent = abs(int(settings_of(operation)["y"]))
    products = max(exponent.bit_length() - 1, 0) + max(exponent.bit_count() - 1, 0)
    return _size(operation.results[0]) * products


def _transform(operation: Operation) -> int:
    """``5 n log2(n)``, as is usual for a fast Fourier transform of n complex numbers; half of it for real ones."""
    lengths = settings_of(operation)["fft_lengths"]
    number = math.prod(lengths)
    whole = max(map(_size, (operation.operands[0], operation.results[0])))
    complex_ends = all(
        jnp.issubdtype(each.dtype, jnp.complexfloating)
        for each in (*operation.operands, *operation.results)
    )
    return round(5 * whole * math.log2(max(number, 2)) / (1 if complex_ends else 2))


def _attention(operation: Operation) -> int:
    """Both products of cuDNN's attention: queries ``(N, L, heads, E)``, keys ``(N, S, heads, E)``."""
    query, key = operation.operands[:2]
    return 4 * _size(query) * key.shape[1]


def _attention_back(operation: Operation) -> int:
    """Five products of the same size: the scores once more, and the four of their and the values' gradients."""
    return _attention(operation) // 2 * 5


_COUNTS: dict[str, Callable[[Operation], int]] = {
    "cumlogsumexp": _running,
    "cummax": _running,
    "cummin": _running,
    "cumprod": _running,
    "cumsum": _running,
    "dot_general": _product,
    "fft": _transform,
    "integer_pow": _power,
    "ragged_dot_general": _ragged_product,
    "reduce": _reduction,
    "reduce_max": _reduction,
    "reduce_min": _reduction,
    "reduce_prod": _reduction,
    "reduce_sum": _reduction,
    "reduce_window": _windows,
    "reduce_window_max": _windows,
    "reduce_window_min": _windows,
    "reduce_window_sum": _windows,
    "scatter_add": _scattered,
    "scatter_max": _scattered,
    "scatter_min": _scattered,
    "scatter_mul": _scattered,
    "scatter_sub": _scattered,
    "unknown:dot_product_attention_bwd_wrapper": _attention_back,
    "unknown:dot_product_attention_fwd_wrapper": _attention,
}

_PRODUCTS = frozenset({
    "conv_general_dilated", "dot_general", "ragged_dot_general", "unknown:dot_product_attention_bwd_wrapper",
    "unknown:dot_product_attention_fwd_wrapper",
})  # fmt: skip
"""What PyTorch's counter counts."""

_EACH = frozenset({
    "abs", "acos", "acosh", "add", "add_any", "add_jaxvals", "asin", "asinh", "atan", "atan2", "atanh", "bessel_i0e",
    "bessel_i1e", "cbrt", "ceil", "clamp", "cos", "cosh", "digamma", "div", "erf", "erf_inv", "erfc", "exp",
    "exp2", "expm1", "floor", "igamma", "igamma_grad_a", "igammac", "imag", "lgamma", "log", "log1p", "log2",
    "logistic", "max", "min", "mul", "neg", "nextafter", "one_minus_square", "polygamma", "pow", "real", "rem",
    "round", "rsqrt", "sign", "sin", "sinh", "sqrt", "square", "sub", "tan", "tanh", "zeta",
})  # fmt: skip
"""One operation for each number of the result."""

_MOVES = frozenset({
    "all_gather", "all_to_all", "argmax", "argmin", "bitcast_convert_type", "broadcast_in_dim", "complex",
    "concatenate", "conj", "convert_element_type", "copy", "copy_p", "dynamic_slice", "dynamic_update_slice",
    "eq", "expand_dims", "gather", "ge", "gt", "iota", "is_finite", "le", "lt", "name", "ne", "optimization_barrier",
    "pad", "pcast", "ppermute", "pvary", "random_bits", "random_seed", "random_unwrap", "random_wrap",
    "reduce_and", "reduce_or", "reduce_precision", "reshape", "reshard", "rev", "scatter", "select_n",
    "sharding_constraint", "slice", "sort", "split", "squeeze", "stack", "stop_gradient", "tile", "top_k",
    "transpose", "unknown:layout_constraint", "unknown:mesh_cast", "unknown:name", "unstack",
})  # fmt: skip
"""No operation at all."""
