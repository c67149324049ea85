"""Instance normalization layers: each channel of each example is standardized by itself."""

from collections.abc import Sequence
from typing import ClassVar

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_ndim
from funcnet.functional.normalization.instance import instance_norm, instance_norm_update
from funcnet.nn.normalization.base import TrackedNorm

__all__ = [
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
]


class _InstanceNorm(TrackedNorm):
    """What the instance norms share.

    Attributes:
        weight: ``(num_features,)``, ones, if ``affine``.
        bias: ``(num_features,)``, zeros, if ``affine`` and ``bias``.
        running_mean: buffer ``(num_features,)``, zeros, if tracked.
        running_var: buffer ``(num_features,)``, ones, if tracked.
        num_batches_tracked: buffer ``()``, if tracked; stays zero, as PyTorch's.
    """

    layout: ClassVar[tuple[Sequence[int], str]]
    """The numbers of axes that an input may have, first without a batch; and how to write them."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
        dtype: DType = jnp.float32,
    ) -> None:
        self._declare(num_features, eps, momentum, affine, track_running_stats, bias, dtype)

    def __call__(self, input: Array, *, segment_ids: ArrayLike | None = None) -> Array:
        """Normalize each example; in training, update the running statistics with its own.

        Args:
            input: of the layer's layout.
            segment_ids: which of several sequences packed in one each position of ``(N, C, L)`` or ``(C, L)`` belongs
                to, ``(N, L)`` or ``(L,)``, as `funcnet.data.pack` yields: each is normalized by itself, and 0 is
                padding. Not with running statistics.
        """
        axes, text = self.layout
        check_ndim("input", input.ndim, axes, text)
        if segment_ids is not None:
            return self._normalize_segments(input, segment_ids)
        if input.ndim == axes[0]:
            return self._normalize(input[None])[0]
        return self._normalize(input)

    def _normalize_segments(self, input: Array, segment_ids: ArrayLike) -> Array:
        if self.running_mean is not None:
            raise ValueError(
                "running statistics are not taken of segments: write track_running_stats=False, or leave out "
                "segment_ids"
            )
        single = input.ndim == self.layout[0][0]
        if single:
            input, segment_ids = input[None], jnp.asarray(segment_ids)[None]
        output = instance_norm(
            input, None, None, self.weight, self.bias, eps=self.eps, segment_ids=segment_ids
        )
        return output[0] if single else output

    def _normalize(self, input: Array) -> Array:
        running, affine = (self.running_mean, self.running_var), (self.weight, self.bias)
        if self.running_mean is None or self.running_var is None or not self.training:
            return instance_norm(input, *running, *affine, self.running_mean is None, eps=self.eps)
        # PyTorch's instance norm counts no batches: without a momentum the statistics stay.
        momentum = 0.0 if self.momentum is None else self.momentum
        output, self.running_mean, self.running_var = instance_norm_update(
            input, self.running_mean, self.running_var, *affine, momentum, self.eps
        )
        return output


class InstanceNorm1d(_InstanceNorm):
    """Standardize each channel of each example of ``(N, C, L)`` or ``(C, L)`` over its length.

    ``(x - mean) / sqrt(var + eps) * weight + bias``

    Args:
        num_features: number of channels.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.
        affine: learn ``weight`` and ``bias``.
        track_running_stats: keep running statistics and use them in evaluation.
        bias: learn ``bias`` too, if ``affine``.
        dtype: of parameters; running statistics have 32 bits at least.

    Attributes:
        weight: ``(num_features,)``, ones, if ``affine``.
        bias: ``(num_features,)``, zeros, if ``affine`` and ``bias``.
        running_mean: buffer ``(num_features,)``, zeros, if tracked.
        running_var: buffer ``(num_features,)``, ones, if tracked.
        num_batches_tracked: buffer ``()``, if tracked; stays zero, as PyTorch's.

    Raises:
        ValueError: on a call with another number of axes, or one value a channel.

    Example:
        >>> net = fn.functionalize(nn.InstanceNorm1d(3))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 4)))[0].shape
        (2, 3, 4)

    Reference: Ulyanov et al., 2016, https://arxiv.org/abs/1607.08022; ``torch.nn.InstanceNorm1d``.
    """

    layout = (2, 3), "(C, L) or (N, C, L)"


class InstanceNorm2d(_InstanceNorm):
    """Standardize each channel of each image of ``(N, C, H, W)`` or ``(C, H, W)``.

    ``(x - mean) / sqrt(var + eps) * weight + bias``

    Args:
        num_features: number of channels.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.
        affine: learn ``weight`` and ``bias``.
        track_running_stats: keep running statistics and use them in evaluation.
        bias: learn ``bias`` too, if ``affine``.
        dtype: of parameters; running statistics have 32 bits at least.

    Parameters and buffers are those of `InstanceNorm1d`.

    Example:
        >>> net = fn.functionalize(nn.InstanceNorm2d(3))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 4, 4)))[0].shape
        (2, 3, 4, 4)

    Reference: Ulyanov et al., 2016, https://arxiv.org/abs/1607.08022; ``torch.nn.InstanceNorm2d``.
    """

    layout = (3, 4), "(C, H, W) or (N, C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    """Standardize each channel of each volume of ``(N, C, D, H, W)`` or ``(C, D, H, W)``.

    ``(x - mean) / sqrt(var + eps) * weight + bias``

    Args:
        num_features: number of channels.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics.
        affine: learn ``weight`` and ``bias``.
        track_running_stats: keep running statistics and use them in evaluation.
        bias: learn ``bias`` too, if ``affine``.
        dtype: of parameters; running statistics have 32 bits at least.

    Parameters and buffers are those of `InstanceNorm1d`.

    Example:
        >>> net = fn.functionalize(nn.InstanceNorm3d(3))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 4, 4, 4)))[0].shape
        (2, 3, 4, 4, 4)

    Reference: Ulyanov et al., 2016, https://arxiv.org/abs/1607.08022; ``torch.nn.InstanceNorm3d``.
    """

    layout = (4, 5), "(C, D, H, W) or (N, C, D, H, W)"


class _LazyInstanceNorm(_InstanceNorm):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        dtype: DType = jnp.float32,
    ) -> None:
        self._declare(None, eps, momentum, affine, track_running_stats, bias, dtype)

    def infer_shapes(self, input: Array) -> dict[str, tuple[int, ...]]:
        """Give the shapes of parameters and buffers for an input."""
        axes, text = self.layout
        check_ndim("input", input.ndim, axes, text)
        return self._sizes(input.shape[input.ndim - axes[0]])


class LazyInstanceNorm1d(_LazyInstanceNorm):
    """`InstanceNorm1d` whose ``num_features`` is taken from the first example.

    The arguments are those of the layer that it becomes, without ``num_features``; unlike there,
    ``affine`` and ``track_running_stats`` are true by default, as in PyTorch.

    Example:
        >>> net = fn.functionalize(nn.LazyInstanceNorm1d())
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3, 4)))
        >>> params["weight"].shape
        (3,)

    Reference: ``torch.nn.LazyInstanceNorm1d``.
    """

    layout = InstanceNorm1d.layout


class LazyInstanceNorm2d(_LazyInstanceNorm):
    """`InstanceNorm2d` whose ``num_features`` is taken from the first example.

    The arguments are those of the layer that it becomes, without ``num_features``; unlike there,
    ``affine`` and ``track_running_stats`` are true by default, as in PyTorch.

    Example:
        >>> net = fn.functionalize(nn.LazyInstanceNorm2d())
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3, 4, 4)))
        >>> params["weight"].shape
        (3,)

    Reference: ``torch.nn.LazyInstanceNorm2d``.
    """

    layout = InstanceNorm2d.layout


class LazyInstanceNorm3d(_LazyInstanceNorm):
    """`InstanceNorm3d` whose ``num_features`` is taken from the first example.

    The arguments are those of the layer that it becomes, without ``num_features``; unlike there,
    ``affine`` and ``track_running_stats`` are true by default, as in PyTorch.

    Example:
        >>> net = fn.functionalize(nn.LazyInstanceNorm3d())
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3, 4, 4, 4)))
        >>> params["weight"].shape
        (3,)

    Reference: ``torch.nn.LazyInstanceNorm3d``.
    """

    layout = InstanceNorm3d.layout
