"""Layers that resize signals, images and volumes."""

from collections.abc import Sequence
from typing import Any

from funcnet.core.aliases import Array
from funcnet.functional.images.interpolation import interpolate
from funcnet.module import Module

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


class Upsample(Module):
    """Resize the spatial axes, to a size or by a factor, as `funcnet.functional.interpolate` does.

    Input ``(N, C, L)``, ``(N, C, H, W)`` or ``(N, C, D, H, W)``; each spatial axis becomes ``size``, or
    ``floor(scale_factor * length)``.

    Args:
        size: of the spatial axes of the output, one number for all or one each; or
        scale_factor: by what to multiply those of the input.
        mode: ``"nearest"``, ``"linear"``, ``"bilinear"``, ``"bicubic"``, ``"trilinear"``, ``"area"`` or
            ``"nearest-exact"``.
        align_corners: keep the corner elements' middles in place, instead of their outer edges.
        recompute_scale_factor: place elements by the ratio of the rounded sizes, not by ``scale_factor``.

    Example:
        >>> nn.Upsample(scale_factor=2, mode="bilinear")(jnp.ones((1, 3, 4, 5))).shape
        (1, 3, 8, 10)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Upsample.html
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        self.size: Any = size
        self.scale_factor: Any = scale_factor or None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def __call__(self, input: Array) -> Array:
        """Resize the input."""
        return interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )


class UpsamplingNearest2d(Upsample):
    """Resize images by copying the nearest pixel: ``Upsample(mode="nearest")``.

    Args:
        size: ``(H, W)`` of the output, or one number for both; or
        scale_factor: by what to multiply those of the input.

    Example:
        >>> nn.UpsamplingNearest2d(scale_factor=2)(jnp.array([[[[1.0, 2.0]]]]))
        Array([[[[1., 1., 2., 2.],
                 [1., 1., 2., 2.]]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.UpsamplingNearest2d.html
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Resize images by interpolation, corners kept: ``Upsample(mode="bilinear", align_corners=True)``.

    Args:
        size: ``(H, W)`` of the output, or one number for both; or
        scale_factor: by what to multiply those of the input.

    Example:
        >>> nn.UpsamplingBilinear2d(size=(1, 3))(jnp.array([[[[1.0, 2.0]]]]))
        Array([[[[1. , 1.5, 2. ]]]], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.UpsamplingBilinear2d.html
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
