"""Layer normalization and RMS normalization, as layers."""

import operator
from collections.abc import Sequence
from typing import ClassVar

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.functional.normalization.layer import layer_norm, rms_norm
from funcnet.module import Module, Parameter
from funcnet.module.precision.policy import ComputesIn
from funcnet.nn import init

__all__ = ["LayerNorm", "RMSNorm"]


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

    Example:
        >>> net = fn.functionalize(nn.LayerNorm(2))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.array([[1.0, 3.0]]))[0].round(3).tolist()
        [[-1.0, 1.0]]

    Reference: Ba, Kiros and Hinton, 2016, https://arxiv.org/abs/1607.06450; ``torch.nn.LayerNorm``.
    """

    computes_in: ClassVar[ComputesIn] = "float32 arrays"

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
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


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

    Example:
        >>> net = fn.functionalize(nn.RMSNorm(2))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.array([[3.0, -3.0]]))[0].round(3).tolist()
        [[1.0, -1.0]]

    Reference: Zhang and Sennrich, 2019, https://arxiv.org/abs/1910.07467; ``torch.nn.RMSNorm``.
    """

    computes_in: ClassVar[ComputesIn] = "float32 arrays"

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
        return rms_norm(input, self.normalized_shape, self.weight, self.eps)


def _shape(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(normalized_shape, Sequence):
        return tuple(map(operator.index, normalized_shape))
    return (operator.index(normalized_shape),)
