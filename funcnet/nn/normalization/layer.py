"""Layers that normalize each example by itself."""

import operator
from collections.abc import Sequence

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_divisible, check_positive
from funcnet.functional.normalization import layer as normalization
from funcnet.functional.normalization import local_response as response_norm
from funcnet.module import Module, Parameter
from funcnet.nn import init

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class LayerNorm(Module):
    """Standardize over the last axes: ``(x - mean) / sqrt(var + eps) * weight + bias``.

    Input ``(*, *normalized_shape)``, output the same.

    Args:
        normalized_shape: the lengths of the axes to standardize over, or that of the last one.
        eps: added to the variance.
        elementwise_affine: learn ``weight`` and ``bias``.
        bias: learn ``bias`` too, if ``elementwise_affine``.
        dtype: of the parameters.

    Attributes:
        weight: ``normalized_shape``, ones.
        bias: ``normalized_shape``, zeros.

    >>> net = fn.functionalize(nn.LayerNorm(2))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.array([[1.0, 3.0]]))[0].round(3).tolist()
    [[-1.0, 1.0]]

    Reference: Ba, Kiros and Hinton, 2016, https://arxiv.org/abs/1607.06450; ``torch.nn.LayerNorm``.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape, affine = self.normalized_shape, elementwise_affine
        self.weight = Parameter(shape, init.ones(), dtype) if affine else None
        self.bias = Parameter(shape, init.zeros(), dtype) if affine and bias else None

    def __call__(self, input: Array) -> Array:
        """Standardize ``(*, *normalized_shape)``."""
        return normalization.layer_norm(
            input, self.normalized_shape, self.weight, self.bias, self.eps
        )


class RMSNorm(Module):
    """Divide by the root mean square over the last axes: ``x / sqrt(mean(x²) + eps) * weight``.

    Input ``(*, *normalized_shape)``, output the same.

    Args:
        normalized_shape: the lengths of the axes to take the mean over, or that of the last one.
        eps: added to the mean square; ``None`` is the machine epsilon.
        elementwise_affine: learn ``weight``.
        dtype: of the parameters.

    Attributes:
        weight: ``normalized_shape``, ones.

    >>> net = fn.functionalize(nn.RMSNorm(2))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.array([[3.0, -3.0]]))[0].round(3).tolist()
    [[1.0, -1.0]]

    Reference: Zhang and Sennrich, 2019, https://arxiv.org/abs/1910.07467; ``torch.nn.RMSNorm``.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.weight = (
            Parameter(self.normalized_shape, init.ones(), dtype) if elementwise_affine else None
        )

    def __call__(self, input: Array) -> Array:
        """Normalize ``(*, *normalized_shape)``."""
        return normalization.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """Standardize each group of neighbouring channels of each example.

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

    >>> net = fn.functionalize(nn.GroupNorm(2, 6))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.ones((4, 6, 5)))[0].shape
    (4, 6, 5)

    Reference: Wu and He, 2018, https://arxiv.org/abs/1803.08494; ``torch.nn.GroupNorm``.
    """

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

    def __call__(self, input: Array) -> Array:
        """Standardize ``(N, C, *)``."""
        return normalization.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class LocalResponseNorm(Module):
    """Divide each element by the energy of the ``size`` channels around it.

    ``x_c / (k + alpha * mean(x²))^beta``; input ``(N, C, *)``, output the same.

    Args:
        size: number of neighbouring channels.
        alpha: weight of the energy.
        beta: exponent.
        k: added to the energy.

    >>> nn.LocalResponseNorm(2, alpha=2.0, beta=1.0)(jnp.ones((1, 2, 1))).round(3).ravel().tolist()
    [0.5, 0.3330000042915344]

    Reference: Krizhevsky et al., 2012; ``torch.nn.LocalResponseNorm``.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def __call__(self, input: Array) -> Array:
        """Normalize ``(N, C, *)``."""
        return response_norm.local_response_norm(input, self.size, self.alpha, self.beta, self.k)


class CrossMapLRN2d(Module):
    """Divide each element by the energy of the channels around it, as Torch 7 did.

    See `funcnet.functional.cross_map_lrn2d` for how it differs from `LocalResponseNorm`.

    Args:
        size: number of neighbouring channels.
        alpha: weight of the energy.
        beta: exponent.
        k: added to the energy.

    >>> nn.CrossMapLRN2d(3)(jnp.ones((1, 4, 2, 2))).shape
    (1, 4, 2, 2)

    Reference: ``torch.nn.CrossMapLRN2d``.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def __call__(self, input: Array) -> Array:
        """Normalize ``(N, C, H, W)``."""
        return response_norm.cross_map_lrn2d(input, self.size, self.alpha, self.beta, self.k)


def _shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(normalized_shape, Sequence):
        return tuple(map(operator.index, normalized_shape))
    return (operator.index(normalized_shape),)
