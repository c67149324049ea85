"""A loss that owns the linear layer whose logits it judges."""

import math
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_probability
from funcnet.functional.losses.linear_cross_entropy import (
    LinearCrossEntropyOptions,
    linear_cross_entropy,
)
from funcnet.nn.linear import Linear
from funcnet.nn.losses.base import WeightedLossLayer

__all__ = ["LinearCrossEntropyLoss", "LinearCrossEntropyOptions"]


class LinearCrossEntropyLoss(WeightedLossLayer):
    r"""A linear layer and the cross entropy of its logits: ``x Wᵀ + b`` against a target.

    Args:
        in_features: features of the input.
        num_classes: number of classes ``C``.
        out_features: further axes of the logits ``(N, C, *out_features)``.
        bias: whether the linear layer has one.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.
        weight: factor of each class, ``(C,)``.
        ignore_index: samples of this class do not count; -100 by default.
        label_smoothing: share of the target that is spread evenly over the classes.
        options: how to cut the batch so that all logits never exist at once.
        dtype: of the linear layer's parameters.

    Raises:
        ValueError: a weight or ``label_smoothing`` that does not fit.

    Example:
        >>> net = fn.functionalize(nn.LinearCrossEntropyLoss(3, 5))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((4, 3)), jnp.arange(4))[0].shape
        ()

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LinearCrossEntropyLoss.html
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        reduction: str = "mean",
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
        dtype: DType = jnp.float32,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        if self.weight is not None and tuple(self.weight.shape) != (num_classes,):
            raise ValueError(f"weight must have shape ({num_classes},); got {self.weight.shape}")
        check_probability("label_smoothing", label_smoothing)
        self.num_classes = num_classes
        self.out_features = tuple(out_features)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        rows = math.prod(self.out_features, start=num_classes)
        self.linear = Linear(in_features, rows, bias=bias, dtype=dtype)
        self.options = options

    def __call__(self, input: Array, target: Array, *, where: ArrayLike | None = None) -> Array:
        """Compare the logits of ``(N, in_features)`` with indices or probabilities."""
        shape, bias = (self.num_classes, *self.out_features), self.linear.bias
        return linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, -1),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
            where=where,
        )
