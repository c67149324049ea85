"""Group normalization as a layer."""

from typing import ClassVar

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_divisible, check_positive
from funcnet.functional.normalization.group import group_norm
from funcnet.module import Module, Parameter
from funcnet.module.precision.policy import ComputesIn
from funcnet.nn import init

__all__ = ["GroupNorm"]


class GroupNorm(Module):
    """Standardize each group of neighbouring channels of each example.

    ``(x - mean) / sqrt(var + eps) * weight + bias``, with the mean and the (biased) variance of the group.

    Input ``(N, C, *)``, output the same.

    Args:
        num_groups: number of groups, a divisor of ``num_channels``.
        num_channels: number of channels.
        eps: added to the variance.
        affine: learn ``weight`` and ``bias``.
        bias: learn ``bias`` too, if ``affine``.
        dtype: of the parameters.

    Attributes:
        weight: ``(num_channels,)``, ones.
        bias: ``(num_channels,)``, zeros.

    Raises:
        ValueError: the channels do not divide into the groups.

    Example:
        >>> net = fn.functionalize(nn.GroupNorm(2, 6))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((4, 6, 5)))[0].shape
        (4, 6, 5)

    Reference: Wu and He, 2018, https://arxiv.org/abs/1803.08494; ``torch.nn.GroupNorm``.
    """

    computes_in: ClassVar[ComputesIn] = "float32 arrays"

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
        dtype: DType = jnp.float32,
    ) -> None:
        check_positive("num_groups", num_groups)
        check_divisible("num_channels", num_channels, "num_groups", num_groups)
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        shape = (num_channels,)
        self.weight = Parameter(shape, init.ones(), dtype) if affine else None
        self.bias = Parameter(shape, init.zeros(), dtype) if affine and bias else None

    def __call__(self, input: Array, *, segment_ids: ArrayLike | None = None) -> Array:
        """Standardize ``(N, C, *)``.

        Args:
            input: of that shape.
            segment_ids: which of several sequences packed in one each position of ``(N, C, L)`` belongs to, ``(N, L)``,
                as `funcnet.data.pack` yields: each has statistics of its own, and 0 is padding.
        """
        affine = self.weight, self.bias
        return group_norm(input, self.num_groups, *affine, self.eps, segment_ids=segment_ids)
