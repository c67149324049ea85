"""Layers of fractional maximum pooling in two and three dimensions."""

from collections.abc import Sequence
from typing import Any, ClassVar

from funcnet.core.aliases import Array
from funcnet.core.checks import per_axis
from funcnet.functional.pooling.fractional import fractional_max_pool2d, fractional_max_pool3d
from funcnet.functional.windows import integers_per_axis
from funcnet.module import Buffer, Module
from funcnet.nn import init

__all__ = ["FractionalMaxPool2d", "FractionalMaxPool3d"]


class FractionalMaxPoolBase(Module):
    """What fractional pooling of two and three dimensions shares."""

    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        output_size: int | Sequence[int] | None = None,
        output_ratio: float | Sequence[float] | None = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> None:
        if (output_size is None) == (output_ratio is None):
            raise ValueError("give either output_size or output_ratio")
        self.kernel_size = integers_per_axis("kernel_size", kernel_size, self.axes)
        self.return_indices = return_indices
        self.output_size: Any = output_size
        self.output_ratio: Any = output_ratio
        if output_size is not None:
            self.output_size = integers_per_axis("output_size", output_size, self.axes)
        if output_ratio is not None:
            self.output_ratio = per_axis("output_ratio", output_ratio, self.axes)
            if not all(0 < ratio < 1 for ratio in self.output_ratio):
                raise ValueError(f"output_ratio must lie between 0 and 1; got {output_ratio}")
        self._random_samples = None
        if _random_samples is not None:
            shape, dtype = _random_samples.shape, _random_samples.dtype
            self._random_samples = Buffer(shape, init.array(_random_samples), dtype)

    def __call__(self, input: Array) -> Any:
        """Take the maximum of each window."""
        return (fractional_max_pool2d if self.axes == 2 else fractional_max_pool3d)(
            input,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            self._random_samples,
            key=self.next_key() if self._random_samples is None else None,
        )


class FractionalMaxPool2d(FractionalMaxPoolBase):
    """Take the maximum of windows at random, nearly even distances over an image.

    Input ``(..., C, H, W)``. Draws a key in training and evaluation alike. Window ``i`` starts at
    ``floor(a (i + u)) - floor(a u)``, with ``u`` from ``U(0, 1)``; see `funcnet.functional.fractional_max_pool2d`.

    Args:
        kernel_size: elements of a window, one number or one an axis.
        output_size: number of windows, one number or one an axis; or
        output_ratio: the same as a share of the input's sizes, between 0 and 1.
        return_indices: also return where each maximum was found.
        _random_samples: numbers in ``[0, 1)`` to place the windows by, ``(N, C, 2)``, instead of random ones.

    Raises:
        ValueError: not exactly one of size and ratio is given.

    Example:
        >>> net = fn.functionalize(nn.FractionalMaxPool2d(2, output_size=5))
        >>> net.apply({}, {}, jnp.ones((2, 9, 9)), key=jax.random.key(0))[0].shape
        (2, 5, 5)

    Reference: Graham, "Fractional Max-Pooling", https://arxiv.org/abs/1412.6071
    """

    axes = 2


class FractionalMaxPool3d(FractionalMaxPoolBase):
    """Take the maximum of windows at random, nearly even distances over a volume.

    Input ``(..., C, D, H, W)``. Draws a key in training and evaluation alike. Window ``i`` starts at
    ``floor(a (i + u)) - floor(a u)``, with ``u`` from ``U(0, 1)``; see `funcnet.functional.fractional_max_pool2d`.

    Args:
        kernel_size: elements of a window, one number or one an axis.
        output_size: number of windows, one number or one an axis; or
        output_ratio: the same as a share of the input's sizes, between 0 and 1.
        return_indices: also return where each maximum was found.
        _random_samples: numbers in ``[0, 1)`` to place the windows by, ``(N, C, 3)``, instead of random ones.

    Raises:
        ValueError: not exactly one of size and ratio is given.

    Example:
        >>> net = fn.functionalize(nn.FractionalMaxPool3d(2, output_size=5))
        >>> net.apply({}, {}, jnp.ones((2, 8, 9, 9)), key=jax.random.key(0))[0].shape
        (2, 5, 5, 5)

    Reference: Graham, "Fractional Max-Pooling", https://arxiv.org/abs/1412.6071
    """

    axes = 3
