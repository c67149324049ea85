"""Affine and bilinear maps, with PyTorch's ``(out, in)`` weights."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array

__all__ = ["bilinear", "linear"]


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    r"""Apply an affine map to the last axis: ``y = x Wᵀ + b``.

    Args:
        input: ``(*, in)``, with any number of leading axes.
        weight: ``(out, in)``, or ``(in,)`` for a single output without an axis.
        bias: ``(out,)``, or ``()`` for a weight of one axis.

    Returns:
        ``(*, out)``, or ``(*)`` for a weight of one axis.

    Raises:
        ValueError: the last axis of the input and of the weight differ.

    >>> F.linear(jnp.ones((2, 3)), jnp.ones((4, 3)), jnp.zeros(4)).shape
    (2, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.linear.html
    """
    if weight.ndim not in (1, 2):
        raise ValueError(f"weight must have shape (out, in) or (in,); got {weight.shape}")
    if input.ndim == 0 or input.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"the last axis of input must have the {weight.shape[-1]} features of the weight "
            f"{weight.shape}; got an input of shape {input.shape}"
        )
    contract = (((input.ndim - 1,), (weight.ndim - 1,)), ((), ()))
    output = jax.lax.dot_general(input, weight, contract)
    return output if bias is None else output + bias


def bilinear(input1: Array, input2: Array, weight: Array, bias: Array | None = None) -> Array:
    r"""Apply a bilinear form for each output: ``y_o = x₁ᵀ A_o x₂ + b_o``.

    Args:
        input1: ``(*, in1)``.
        input2: ``(*, in2)``, with the same leading axes.
        weight: ``(out, in1, in2)``.
        bias: ``(out,)``.

    Returns:
        ``(*, out)``.

    Raises:
        ValueError: the leading axes differ, or the last ones do not fit the weight.

    >>> F.bilinear(jnp.ones((5, 2)), jnp.ones((5, 3)), jnp.ones((4, 2, 3))).shape
    (5, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.bilinear.html
    """
    if weight.ndim != 3:
        raise ValueError(f"weight must have shape (out, in1, in2); got {weight.shape}")
    if input1.shape[:-1] != input2.shape[:-1]:
        raise ValueError(
            f"input1 and input2 must agree in all but the last axis; got {input1.shape} "
            f"and {input2.shape}"
        )
    if (input1.shape[-1], input2.shape[-1]) != weight.shape[1:]:
        raise ValueError(
            f"the last axes of the inputs must be {weight.shape[1:]} for a weight of shape "
            f"{weight.shape}; got {input1.shape} and {input2.shape}"
        )
    output = jnp.einsum("...i,oij,...j->...o", input1, weight, input2)
    return output if bias is None else output + bias
