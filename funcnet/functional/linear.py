"""Affine and bilinear maps, with PyTorch's ``(out, in)`` weights."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32, is_float
from funcnet.functional.promotion import add_bias, with_parameters

__all__ = ["bilinear", "linear"]


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    r"""Apply an affine map to the last axis: ``y = x Wᵀ + b``.

    Args:
        input: ``(*, in)``, with any number of leading axes: real or complex floats; or integers, beside
            parameters of integers.
        weight: ``(out, in)``, or ``(in,)`` for a single output without an axis.
        bias: ``(out,)``, or ``()`` for a weight of one axis; or any shape that broadcasts to the output's.

    Returns:
        ``(*, out)``, or ``(*)`` for a weight of one axis; of the input's dtype.

    Raises:
        ValueError: the last axis of the input and of the weight differ, or the bias does not fit.
        TypeError: the input holds booleans, or integers beside floats.

    >>> F.linear(jnp.ones((2, 3)), jnp.ones((4, 3)), jnp.zeros(4)).shape
    (2, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.linear.html
    """
    dtype, input, weight, bias = with_parameters(
        "linear", {"weight": weight, "bias": bias}, input=input
    )
    if weight.ndim not in (1, 2):
        raise ValueError(f"weight must have shape (out, in) or (in,); got {weight.shape}")
    if input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"the last axis of input must have the {weight.shape[-1]} features of the weight "
            f"{weight.shape}; got an input of shape {input.shape}"
        )
    contract = (((input.ndim - 1,), (weight.ndim - 1,)), ((), ()))
    output = jax.lax.dot_general(input, weight, contract)
    if bias is not None:
        if not _broadcasts(bias.shape, output.shape):
            raise ValueError(
                f"linear: bias must have shape {weight.shape[:-1]}, that of the weight's outputs, or one that "
                f"broadcasts to the output's {output.shape}; got {bias.shape}"
            )
        output = add_bias(output, bias)
    return output if output.dtype == dtype else output.astype(dtype)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Say whether an array of one shape broadcasts to another without enlarging it."""
    return len(shape) <= len(to) and all(
        own in (1, size) for own, size in zip(shape[::-1], to[::-1], strict=False)
    )


def bilinear(input1: Array, input2: Array, weight: Array, bias: Array | None = None) -> Array:
    r"""Apply a bilinear form for each output: ``y_o = x₁ᵀ A_o x₂ + b_o``.

    Args:
        input1: ``(*, in1)``, of numbers as `linear` takes them.
        input2: ``(*, in2)``, with the same leading axes.
        weight: ``(out, in1, in2)``.
        bias: ``(out,)``.

    Returns:
        ``(*, out)``, of the dtype that both inputs are promoted to.

    Raises:
        ValueError: the leading axes differ, the last ones do not fit the weight, or the bias does not.
        TypeError: an input holds booleans, or integers beside floats.

    >>> F.bilinear(jnp.ones((5, 2)), jnp.ones((5, 3)), jnp.ones((4, 2, 3))).shape
    (5, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.bilinear.html
    """
    dtype, input1, input2, weight, bias = with_parameters(
        "bilinear", {"weight": weight, "bias": bias}, input1=input1, input2=input2
    )
    if weight.ndim != 3:
        raise ValueError(f"weight must have shape (out, in1, in2); got {weight.shape}")
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ValueError(
            f"input1 and input2 must agree in all but the last axis; got {input1.shape} "
            f"and {input2.shape}"
        )
    if input1.ndim == 0:
        raise ValueError("input1 and input2 must have an axis of features; got numbers")
    if (input1.shape[-1], input2.shape[-1]) != weight.shape[1:]:
        raise ValueError(
            f"the last axes of the inputs must be {weight.shape[1:]} for a weight of shape "
            f"{weight.shape}; got {input1.shape} and {input2.shape}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bilinear: bias must have shape {weight.shape[:1]}; got {bias.shape}")
    output = _form(input1, weight, input2)
    return (output if bias is None else add_bias(output, bias)).astype(dtype)


def _form(input1: Array, weight: Array, input2: Array) -> Array:
    """Contract both inputs with the weight, rounding 16-bit floats once, at the end."""
    if not is_float(weight, complex=True):
        return jnp.einsum("...i,oij,...j->...o", input1, weight, input2)
    wide = at_least_float32(weight.dtype)
    factors = (x.astype(wide) for x in (input1, weight, input2))
    return jnp.einsum("...i,oij,...j->...o", *factors).astype(weight.dtype)
