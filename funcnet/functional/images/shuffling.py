"""Rearranging channels: into pixels, out of pixels, and across groups."""

import math

from funcnet.core.aliases import Array
from funcnet.core.checks import check_divisible, check_positive
from funcnet.functional.explicit_meshes import let_xla_place

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


def _check_image(name: str, input: Array) -> None:
    if input.ndim < 3:
        raise ValueError(f"{name}: input must have shape (..., C, H, W); got {input.shape}")


def pixel_shuffle(input: Array, upscale_factor: int) -> Array:
    """Rearrange blocks of ``r * r`` channels into ``r`` times as many rows and columns.

    ``output[c, r h + i, r w + j] = input[c r r + r i + j, h, w]``

    Args:
        input: ``(..., C r r, H, W)``, any number of batch axes.
        upscale_factor: ``r``.

    Returns:
        ``(..., C, r H, r W)``.

    Raises:
        ValueError: the channels are no multiple of ``r * r``.

    Example:
        >>> F.pixel_shuffle(jnp.arange(4.0).reshape(4, 1, 1), 2)
        Array([[[0., 1.],
                [2., 3.]]], dtype=float32)

    Reference: Shi et al., "Real-Time Single Image and Video Super-Resolution", https://arxiv.org/abs/1609.05158
    """
    _check_image("pixel_shuffle", input)
    check_positive("upscale_factor", upscale_factor)
    r = upscale_factor
    *lead, channels, height, width = input.shape
    check_divisible("channels", channels, "upscale_factor squared", r * r)

    def shuffle(input: Array) -> Array:
        blocks = input.reshape(math.prod(lead), channels // (r * r), r, r, height, width)
        return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(
            *lead, channels // (r * r), height * r, width * r
        )

    return let_xla_place(shuffle, input, kept=len(lead))


def pixel_unshuffle(input: Array, downscale_factor: int) -> Array:
    """Rearrange blocks of ``r`` rows and columns into ``r * r`` times as many channels.

    ``output[c r r + r i + j, h, w] = input[c, r h + i, r w + j]``, the inverse of `pixel_shuffle`.

    Args:
        input: ``(..., C, r H, r W)``, any number of batch axes.
        downscale_factor: ``r``.

    Returns:
        ``(..., C r r, H, W)``.

    Raises:
        ValueError: height or width are no multiples of ``r``.

    Example:
        >>> F.pixel_unshuffle(jnp.arange(4.0).reshape(1, 2, 2), 2)[:, 0, 0]
        Array([0., 1., 2., 3.], dtype=float32)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.PixelUnshuffle.html
    """
    _check_image("pixel_unshuffle", input)
    check_positive("downscale_factor", downscale_factor)
    r = downscale_factor
    *lead, channels, height, width = input.shape
    check_divisible("height", height, "downscale_factor", r)
    check_divisible("width", width, "downscale_factor", r)

    def unshuffle(input: Array) -> Array:
        blocks = input.reshape(math.prod(lead), channels, height // r, r, width // r, r)
        return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(
            *lead, channels * r * r, height // r, width // r
        )

    return let_xla_place(unshuffle, input, kept=len(lead))


def channel_shuffle(input: Array, groups: int) -> Array:
    """Interleave the channels of groups: the first of each group, then the second of each, and so on.

    ``output[n, c G + g] = input[n, g C / G + c]`` for ``G`` groups of ``C`` channels in all.

    Args:
        input: ``(N, C, ...)`` with at least one spatial axis.
        groups: number of groups, each of ``C / groups`` channels.

    Returns:
        An array of the input's shape.

    Raises:
        ValueError: the groups do not divide the channels, or there are too few axes.

    Example:
        >>> F.channel_shuffle(jnp.arange(6.0).reshape(1, 6, 1), 2)[0, :, 0]
        Array([0., 3., 1., 4., 2., 5.], dtype=float32)

    Reference: Zhang et al., "ShuffleNet", https://arxiv.org/abs/1707.01083
    """
    if input.ndim < 3:
        raise ValueError(f"channel_shuffle: input must have shape (N, C, *); got {input.shape}")
    check_positive("groups", groups)
    channels = input.shape[1]
    check_divisible("channels", channels, "groups", groups)

    def shuffle(input: Array) -> Array:
        grouped = input.reshape(input.shape[0], groups, channels // groups, *input.shape[2:])
        return grouped.swapaxes(1, 2).reshape(input.shape)

    return let_xla_place(shuffle, input, kept=1)
