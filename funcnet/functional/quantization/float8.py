"""Products of 8-bit floats: e4m3 for weights and activations, e5m2, whose range is wider, for gradients.

A GPU that multiplies such numbers (Hopper, Ada, MI300 and later) is given them as they are. Elsewhere they are rounded
in the same way and multiplied in float32, which is exact for each product.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.dtypes import as_floats
from funcnet.functional.promotion import add_bias

__all__ = ["float8_linear", "float8_matmul", "to_float8"]

E4M3, E5M2 = jnp.dtype(jnp.float8_e4m3fn), jnp.dtype(jnp.float8_e5m2)
FLOAT8_DTYPES = (E4M3, E5M2)


def to_float8(input: Array, dtype: DType = jnp.float8_e4m3fn) -> tuple[Array, Array]:
    """Round an array to 8-bit floats, scaled so that its largest number is the largest of them.

    ``round(x / scale)``, with ``scale = max(|x|) / largest``.

    Args:
        input: any shape, floats.
        dtype: ``jnp.float8_e4m3fn`` or ``jnp.float8_e5m2``.

    Returns:
        ``(values, scale)``: ``values`` in 8 bits, and a number in float32 by which to multiply them again.

    Raises:
        TypeError: the input holds no floats, or the dtype is another.

    Example:
        >>> values, scale = F.to_float8(jnp.array([1.0, -0.25]))
        >>> values.dtype, (values.astype(jnp.float32) * scale).tolist()
        (dtype(float8_e4m3fn), [1.0, -0.25])

    Reference: Micikevicius et al., FP8 Formats for Deep Learning, 2022, https://arxiv.org/abs/2209.05433.
    """
    (input,) = as_floats("to_float8", input=input)
    kind = jnp.dtype(dtype)
    if kind not in FLOAT8_DTYPES:
        raise TypeError(f"dtype must be float8_e4m3fn or float8_e5m2; got {kind}")
    wide = jax.lax.stop_gradient(input).astype(jnp.float32)
    greatest = float(jnp.finfo(kind).max)
    largest = jnp.max(jnp.abs(wide), initial=0)
    scale = jnp.where(largest > 0, largest / greatest, jnp.ones_like(largest))
    # beyond the range e4m3 has nothing but NaN: what division rounds up must not go there
    return jnp.clip(wide / scale, -greatest, greatest).astype(kind), scale


def float8_matmul(
    a: Array,
    b: Array,
    scale_a: ArrayLike,
    scale_b: ArrayLike,
    bias: Array | None = None,
    *,
    out_dtype: DType = jnp.float32,
) -> Array:
    """Multiply two matrices of 8-bit floats and their scales: ``(a * scale_a) @ (b * scale_b) + bias``.

    Args:
        a: ``(*, n, k)``, float8 (e4m3 or e5m2).
        b: ``(k, m)``, float8, of the same kind or the other.
        scale_a: a number, or ``(n, 1)``.
        scale_b: a number, or ``(1, m)``.
        bias: ``(m,)``.
        out_dtype: of the result; sums are taken in float32.

    Returns:
        ``(*, n, m)``.

    Raises:
        TypeError: a matrix holds other numbers.
        ValueError: the shapes do not fit.

    Example:
        >>> a, scale_a = F.to_float8(jnp.ones((2, 4)))
        >>> b, scale_b = F.to_float8(jnp.full((4, 3), 0.5))
        >>> F.float8_matmul(a, b, scale_a, scale_b).round(3).tolist()
        [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]

    Reference: ``torch._scaled_mm``.
    """
    for name, array in {"a": a, "b": b}.items():
        if array.dtype not in FLOAT8_DTYPES:
            raise TypeError(
                f"float8_matmul: {name} must hold float8_e4m3fn or float8_e5m2; got {array.dtype}: write "
                f"{name}, scale_{name} = F.to_float8({name})"
            )
    if a.ndim < 1 or b.ndim != 2 or a.shape[-1] != b.shape[0]:
        raise ValueError(
            f"float8_matmul takes (*, n, k) and (k, m) with the same k; got {a.shape} and {b.shape}"
        )
    output = _product8(a, b, ((a.ndim - 1,), (0,)))
    output = output * jnp.asarray(scale_a, jnp.float32) * jnp.asarray(scale_b, jnp.float32)
    if bias is not None:
        output = output + bias.astype(jnp.float32)
    return output.astype(out_dtype)


def float8_linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """Apply an affine map to the last axis with a product of 8-bit floats, in training too: ``y = x Wᵀ + b``.

    Input and weight are rounded to e4m3, the gradient to e5m2, each scaled by its largest number as it comes (under
    ``jax.vmap``, of each example). Sums, the bias, and both gradients' results have 32 bits, before they are rounded to
    the dtypes of the arguments.

    Args:
        input: ``(*, in)``, floats.
        weight: ``(out, in)``.
        bias: ``(out,)``.

    Returns:
        ``(*, out)``, of the input's dtype.

    Raises:
        TypeError: an array holds no floats.
        ValueError: the input's last axis is not the weight's.

    Example:
        >>> F.float8_linear(jnp.ones((2, 4)), jnp.ones((3, 4)), jnp.ones(3)).round(3).tolist()
        [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]

    Reference: Micikevicius et al., FP8 Formats for Deep Learning, 2022, https://arxiv.org/abs/2209.05433.
    """
    (input,) = as_floats("float8_linear", input=input)
    (weight,) = as_floats("float8_linear", weight=weight)
    if weight.ndim != 2 or input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"float8_linear takes an input (*, in) and a weight (out, in); got {input.shape} and {weight.shape}"
        )
    output = _trained(input, weight)
    return output if bias is None else add_bias(output, bias.astype(output.dtype))


@jax.custom_vjp
def _trained(input: Array, weight: Array) -> Array:
    return _forward(input, weight)[0]


def _forward(input: Array, weight: Array) -> tuple[Array, Any]:
    x, w = to_float8(input), to_float8(weight)
    output = _scaled(x, w, ((input.ndim - 1,), (1,))).astype(input.dtype)
    return output, (x, w, input[:0], weight[:0])  # empty arrays: dtypes of what is returned


def _backward(kept: Any, grad: Array) -> tuple[Array, Array]:
    x, w, like_input, like_weight = kept
    g = to_float8(grad, E5M2)
    leading = tuple(range(grad.ndim - 1))
    by_input = _scaled(g, w, ((grad.ndim - 1,), (0,)))
    by_weight = _scaled(g, x, (leading, leading))
    return by_input.astype(like_input.dtype), by_weight.astype(like_weight.dtype)


_trained.defvjp(_forward, _backward)


def _scaled(a: tuple[Array, Array], b: tuple[Array, Array], contract: Any) -> Array:
    return _product8(a[0], b[0], contract) * (a[1] * b[1])


def _product8(a: Array, b: Array, contract: Any) -> Array:
    """Multiply 8-bit floats; on CPUs after widening, because there XLA has no product of them."""
    product = partial(
        jax.lax.dot_general,
        dimension_numbers=(contract, ((), ())),
        preferred_element_type=jnp.float32,
    )

    def widened(a: Array, b: Array) -> Array:
        return product(a.astype(jnp.float32), b.astype(jnp.float32))

    return jax.lax.platform_dependent(a, b, cpu=widened, default=product)
