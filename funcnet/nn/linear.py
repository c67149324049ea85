"""Layers that are affine or bilinear in their input."""

import math
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_positive
from funcnet.functional.linear import bilinear, linear
from funcnet.module import Module, Parameter
from funcnet.nn import init

__all__ = ["Bilinear", "LazyLinear", "Linear"]


class Linear(Module):
    r"""Apply an affine map to the last axis: ``y = x Wᵀ + b``.

    Input ``(*, in_features)``, output ``(*, out_features)``.

    Args:
        in_features: length of the input's last axis.
        out_features: length of the output's last axis.
        bias: whether to add a bias.
        dtype: of the parameters.

    Attributes:
        weight: ``(out_features, in_features)``, from ``U(-1/√in_features, 1/√in_features)``.
        bias: ``(out_features,)``, likewise; or ``None``.

    >>> net = fn.functionalize(nn.Linear(3, 2))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((5, 3)))[0].shape
    (5, 2)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Linear.html
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: DType = jnp.float32
    ) -> None:
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(
            (out_features, in_features), init.kaiming_uniform(a=math.sqrt(5)), dtype
        )
        self.bias = (
            Parameter((out_features,), init.uniform_fan_in(in_features), dtype) if bias else None
        )

    def __call__(self, input: Array) -> Array:
        """Map ``(*, in_features)`` to ``(*, out_features)``."""
        return linear(input, self.weight, self.bias)


class Bilinear(Module):
    r"""Apply a bilinear form for each output: ``y_o = x₁ᵀ A_o x₂ + b_o``.

    Inputs ``(*, in1_features)`` and ``(*, in2_features)``, output ``(*, out_features)``.

    Args:
        in1_features: length of the first input's last axis.
        in2_features: length of the second input's last axis.
        out_features: length of the output's last axis.
        bias: whether to add a bias.
        dtype: of the parameters.

    Attributes:
        weight: ``(out_features, in1_features, in2_features)``, from ``U(-1/√in1, 1/√in1)``.
        bias: ``(out_features,)``, likewise; or ``None``.

    Raises:
        ValueError: ``in1_features`` is not above zero.

    >>> net = fn.functionalize(nn.Bilinear(2, 3, 4))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((5, 2)), jnp.ones((5, 3)))[0].shape
    (5, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Bilinear.html
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        check_positive("in1_features", in1_features)
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        start = init.uniform_fan_in(in1_features)
        self.weight = Parameter((out_features, in1_features, in2_features), start, dtype)
        self.bias = Parameter((out_features,), start, dtype) if bias else None

    def __call__(self, input1: Array, input2: Array) -> Array:
        """Map ``(*, in1_features)`` and ``(*, in2_features)`` to ``(*, out_features)``."""
        return bilinear(input1, input2, self.weight, self.bias)


class LazyLinear(Linear):
    """`Linear` whose ``in_features`` are learned from the first example input.

    Args:
        out_features: length of the output's last axis.
        bias: whether to add a bias.
        dtype: of the parameters.

    >>> net = fn.functionalize(nn.LazyLinear(2))
    >>> params, state = net.init(jax.random.key(0), jnp.ones((5, 3)))
    >>> params["weight"].shape
    (2, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LazyLinear.html
    """

    def __init__(self, out_features: int, bias: bool = True, *, dtype: DType = jnp.float32) -> None:
        self.out_features = out_features
        self.weight = Parameter((out_features, None), init.kaiming_uniform(a=math.sqrt(5)), dtype)
        self.bias = Parameter((out_features,), init.zeros(), dtype) if bias else None

    def infer_shapes(self, input: Array) -> dict[str, Any]:
        """Give the weight's shape for an input, and the bias with the range that follows from it."""
        features = input.shape[-1]
        bias = Parameter((self.out_features,), init.uniform_fan_in(features))
        return {"weight": (self.out_features, features), "bias": bias}
