"""What batch and instance normalization layers share: running statistics of channels."""

from typing import ClassVar

import jax.numpy as jnp

from funcnet.core.aliases import DType
from funcnet.core.checks import check_non_negative
from funcnet.core.dtypes import at_least_float32
from funcnet.module import Buffer, Module, Parameter
from funcnet.module.precision.policy import ComputesIn
from funcnet.module.specs import may_be_missing
from funcnet.nn import init

__all__ = ["TrackedNorm"]


class TrackedNorm(Module):
    """Scale, offset and running statistics of channels: what batch and instance norms own.

    The running statistics have 32 bits at least, whatever the dtype of the parameters: an average in
    16 bits stops moving where a batch's share of it is below half a unit in the last place.
    """

    computes_in: ClassVar[ComputesIn] = "float32 arrays"

    def _declare(
        self,
        num_features: int | None,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        bias: bool,
        dtype: DType,
    ) -> None:
        if num_features is not None:
            check_non_negative("num_features", num_features)
            self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        shape = (num_features,)
        self.weight = Parameter(shape, init.ones(), dtype) if affine else None
        self.bias = Parameter(shape, init.zeros(), dtype) if affine and bias else None
        tracked = track_running_stats
        wide = at_least_float32(dtype)
        self.running_mean = Buffer(shape, init.zeros(), wide) if tracked else None
        self.running_var = Buffer(shape, init.ones(), wide) if tracked else None
        self.num_batches_tracked = (
            may_be_missing(Buffer((), init.zeros(), jnp.int32)) if tracked else None
        )

    def _sizes(self, channels: int) -> dict[str, tuple[int, ...]]:
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: (channels,) for name in names if getattr(self, name) is not None}
