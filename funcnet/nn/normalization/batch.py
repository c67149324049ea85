"""Batch normalization layers: batch statistics in training, running ones in evaluation."""

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_ndim
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.normalization.batch import batch_norm, batch_norm_update
from funcnet.module import Module
from funcnet.module.description import replaced
from funcnet.nn.normalization.base import TrackedNorm

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "SyncBatchNorm",
]


class _BatchNorm(TrackedNorm):
    """What the batch norms share.

    Attributes:
        weight: ``(num_features,)``, ones, if ``affine``.
        bias: ``(num_features,)``, zeros, likewise.
        running_mean: buffer ``(num_features,)``, zeros, if ``track_running_stats``.
        running_var: buffer ``(num_features,)``, ones, likewise.
        num_batches_tracked: buffer ``()``, likewise.
    """

    layout: ClassVar[tuple[Sequence[int], str]]
    """The numbers of axes that an input may have, and how they are written."""

    channels_last = False
    axis_name: Hashable | None = None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        channels_last: bool = False,
        dtype: DType = jnp.float32,
    ) -> None:
        self._declare(num_features, eps, momentum, affine, track_running_stats, bias, dtype)
        self.channels_last = channels_last

    def __call__(self, input: Array, *, where: ArrayLike | None = None) -> Array:
        """Normalize a batch; in training, update the running statistics with its own.

        Args:
            input: of the layer's layout.
            where: mask of what counts, of the input's shape without its channels: which tokens of a batch of
                sequences are not padding, say. The rest is in no statistics, and zero in the output.
        """
        check_ndim("input", input.ndim, *self.layout)
        options: dict[str, Any] = {
            "eps": self.eps, "channels_last": self.channels_last, "where": where,
        }  # fmt: skip
        if self.training and self.axis_name is not None:
            options["axis_name"] = self.axis_name
        affine = self.weight, self.bias
        if not (self.training and self.track_running_stats):
            use_batch = self.training or self.running_mean is None
            mean, var = (None, None) if use_batch else (self.running_mean, self.running_var)
            return batch_norm(input, mean, var, *affine, use_batch, **options)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked = self.num_batches_tracked + 1
        momentum = self.momentum
        if momentum is None:
            dtype = at_least_float32(self.running_mean.dtype)
            momentum = 1 / self.num_batches_tracked.astype(dtype)
        output, self.running_mean, self.running_var = batch_norm_update(
            input, self.running_mean, self.running_var, *affine, momentum, **options
        )
        return output


class BatchNorm1d(_BatchNorm):
    """Standardize each channel of ``(N, C)`` or ``(N, C, L)`` over the batch.

    ``(x - mean) / sqrt(var + eps) * weight + bias``; the statistics are the batch's in training and
    the running ones in evaluation, where ``running = (1 - momentum) * running + momentum * batch``.

    Args:
        num_features: number of channels.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics; ``None`` averages all batches.
        affine: learn ``weight`` and ``bias``.
        track_running_stats: keep running statistics; without them batch statistics serve always.
        bias: learn ``bias`` too, if ``affine``.
        channels_last: inputs are ``(N, L, C)``.
        dtype: of parameters; running statistics have 32 bits at least.

    Attributes:
        weight: ``(num_features,)``, ones.
        bias: ``(num_features,)``, zeros.
        running_mean: buffer ``(num_features,)``, zeros.
        running_var: buffer ``(num_features,)``, ones.
        num_batches_tracked: buffer ``()``.

    Raises:
        ValueError: on a call with another number of axes, or one value a channel in training.

    Example:
        >>> net = fn.functionalize(nn.BatchNorm1d(3))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, state = net.apply(params, state, jnp.arange(6.0).reshape(2, 3), train=True)
        >>> output.round(2).tolist(), int(state["num_batches_tracked"])
        ([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]], 1)

    Reference: Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167; ``torch.nn.BatchNorm1d``.
    """

    layout = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Standardize each channel of ``(N, C, H, W)`` over the batch and the pixels.

    ``(x - mean) / sqrt(var + eps) * weight + bias``; the statistics are the batch's in training and
    the running ones in evaluation, where ``running = (1 - momentum) * running + momentum * batch``.

    Args:
        num_features: number of channels.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics; ``None`` averages all batches.
        affine: learn ``weight`` and ``bias``.
        track_running_stats: keep running statistics; without them batch statistics serve always.
        bias: learn ``bias`` too, if ``affine``.
        channels_last: inputs are ``(N, H, W, C)``, which is faster on CPU.
        dtype: of parameters; running statistics have 32 bits at least.

    Parameters and buffers are those of `BatchNorm1d`.

    Example:
        >>> net = fn.functionalize(nn.BatchNorm2d(3))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 4, 4)))[0].shape
        (2, 3, 4, 4)

    Reference: Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167; ``torch.nn.BatchNorm2d``.
    """

    layout = (4,), "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    """Standardize each channel of ``(N, C, D, H, W)`` over the batch and the voxels.

    ``(x - mean) / sqrt(var + eps) * weight + bias``; the statistics are the batch's in training and
    the running ones in evaluation, where ``running = (1 - momentum) * running + momentum * batch``.

    Args:
        num_features: number of channels.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics; ``None`` averages all batches.
        affine: learn ``weight`` and ``bias``.
        track_running_stats: keep running statistics; without them batch statistics serve always.
        bias: learn ``bias`` too, if ``affine``.
        channels_last: inputs are ``(N, D, H, W, C)``.
        dtype: of parameters; running statistics have 32 bits at least.

    Parameters and buffers are those of `BatchNorm1d`.

    Example:
        >>> net = fn.functionalize(nn.BatchNorm3d(3))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((2, 3, 2, 2, 2)))[0].shape
        (2, 3, 2, 2, 2)

    Reference: Ioffe and Szegedy, 2015, https://arxiv.org/abs/1502.03167; ``torch.nn.BatchNorm3d``.
    """

    layout = (5,), "(N, C, D, H, W)"


class SyncBatchNorm(_BatchNorm):
    """Batch normalization whose batch is spread over the devices of a mesh axis.

    ``(x - mean) / sqrt(var + eps) * weight + bias``, with the statistics of all parts together.

    Only code that sees one device's part of the batch needs it: ``jax.shard_map`` and ``jax.pmap``.
    Under ``jax.jit`` the arrays are global, and every batch norm is synchronized.

    Args:
        num_features: number of channels.
        eps: added to the variance.
        momentum: weight of a new batch in the running statistics; ``None`` averages all batches.
        affine: learn ``weight`` and ``bias``.
        track_running_stats: keep running statistics; without them batch statistics serve always.
        axis_name: name of the mesh axis (or several) that the batch is split over, in place of
            PyTorch's process group; ``None`` makes it an ordinary batch norm.
        bias: learn ``bias`` too, if ``affine``.
        channels_last: inputs are ``(N, *spatial, C)``.
        dtype: of parameters; running statistics have 32 bits at least.

    Parameters and buffers are those of `BatchNorm1d`.

    Example:
        >>> net = fn.functionalize(nn.SyncBatchNorm(1, axis_name="data"))
        >>> params, state = net.init(jax.random.key(0))
        >>> parts = jnp.array([[[0.0], [0.0]], [[2.0], [2.0]]])       # two devices, two examples each
        >>> each = lambda x: net.apply(params, state, x, train=True)[0]
        >>> jax.vmap(each, axis_name="data")(parts).round(2).ravel().tolist()
        [-1.0, -1.0, 1.0, 1.0]

    Reference: ``torch.nn.SyncBatchNorm``.
    """

    layout = range(2, 64), "(N, C, ...)"

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        axis_name: Hashable | None = None,
        *,
        bias: bool = True,
        channels_last: bool = False,
        dtype: DType = jnp.float32,
    ) -> None:
        self._declare(num_features, eps, momentum, affine, track_running_stats, bias, dtype)
        self.channels_last = channels_last
        self.axis_name = axis_name

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, axis_name: Hashable) -> Module:
        """Turn every batch norm inside a module into one that is synchronized over a mesh axis.

        Args:
            module: a model; its parts are replaced in place, as PyTorch does.
            axis_name: name of the mesh axis (or several) that batches are split over.

        Returns:
            The module, or, if it is itself a batch norm, the layer that replaces it.

        Example:
            >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
            >>> nn.SyncBatchNorm.convert_sync_batchnorm(model, "data")[1].axis_name
            'data'
        """

        def convert(old: Module, new: Module) -> Module:
            if not isinstance(old, _BatchNorm):
                vars(old).update(vars(new))
                return old
            made = object.__new__(type(old) if isinstance(old, _LazyBatchNorm) else cls)
            vars(made).update(vars(old), axis_name=axis_name)
            return made

        return replaced(module, convert)


class _LazyBatchNorm(_BatchNorm):
    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
        channels_last: bool = False,
        dtype: DType = jnp.float32,
    ) -> None:
        self._declare(None, eps, momentum, affine, track_running_stats, bias, dtype)
        self.channels_last = channels_last

    def infer_shapes(self, input: Array) -> dict[str, tuple[int, ...]]:
        """Give the shapes of parameters and buffers for an input."""
        check_ndim("input", input.ndim, *self.layout)
        return self._sizes(input.shape[-1 if self.channels_last else 1])


class LazyBatchNorm1d(_LazyBatchNorm):
    """`BatchNorm1d` whose ``num_features`` is taken from the first example.

    The arguments are those of the layer that it becomes, without ``num_features``.

    Example:
        >>> net = fn.functionalize(nn.LazyBatchNorm1d())
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3)))
        >>> params["weight"].shape
        (3,)

    Reference: ``torch.nn.LazyBatchNorm1d``.
    """

    layout = BatchNorm1d.layout


class LazyBatchNorm2d(_LazyBatchNorm):
    """`BatchNorm2d` whose ``num_features`` is taken from the first example.

    The arguments are those of the layer that it becomes, without ``num_features``.

    Example:
        >>> net = fn.functionalize(nn.LazyBatchNorm2d())
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3, 4, 4)))
        >>> params["weight"].shape
        (3,)

    Reference: ``torch.nn.LazyBatchNorm2d``.
    """

    layout = BatchNorm2d.layout


class LazyBatchNorm3d(_LazyBatchNorm):
    """`BatchNorm3d` whose ``num_features`` is taken from the first example.

    The arguments are those of the layer that it becomes, without ``num_features``.

    Example:
        >>> net = fn.functionalize(nn.LazyBatchNorm3d())
        >>> params, state = net.init(jax.random.key(0), jnp.ones((2, 3, 4, 4, 4)))
        >>> params["weight"].shape
        (3,)

    Reference: ``torch.nn.LazyBatchNorm3d``.
    """

    layout = BatchNorm3d.layout
