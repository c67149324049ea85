"""Rows of the layers that rearrange pixels and resize images."""

from functools import partial

from tests import parity

Layer = partial(parity.Layer, train=False)  # these layers compute the same in training

ROWS = [
    Layer("PixelShuffle", (2,), inputs=[(2, 8, 2, 3)]),
    Layer("PixelShuffle", (3,), inputs=[(9, 2, 1)]),
    Layer("PixelShuffle", (1,), inputs=[(2, 3, 2, 2)]),
    Layer("PixelShuffle", (2,), inputs=[(2, 3, 4, 2, 3)]),
    Layer("PixelShuffle", (2,), inputs=[(1, 16, 1, 1)]),
    Layer("PixelShuffle", (4,), inputs=[(1, 32, 2, 1)]),
    Layer("PixelUnshuffle", (2,), inputs=[(2, 2, 4, 6)]),
    Layer("PixelUnshuffle", (3,), inputs=[(1, 6, 3)]),
    Layer("PixelUnshuffle", (1,), inputs=[(2, 3, 2, 2)]),
    Layer("PixelUnshuffle", (2,), inputs=[(2, 3, 1, 2, 4)]),
    Layer("PixelUnshuffle", (2,), inputs=[(1, 3, 2, 2)]),
    Layer("PixelUnshuffle", (4,), inputs=[(1, 2, 8, 4)]),
    Layer("ChannelShuffle", (2,), inputs=[(2, 6, 3, 2)]),
    Layer("ChannelShuffle", (3,), inputs=[(2, 6, 3, 2)]),
    Layer("ChannelShuffle", (1,), inputs=[(2, 4, 3, 2)]),
    Layer("ChannelShuffle", (4,), inputs=[(2, 4, 5)]),
    Layer("ChannelShuffle", (2,), inputs=[(1, 4, 2, 2, 2)]),
    Layer("ChannelShuffle", (2,), inputs=[(0, 4, 3, 2)]),
    Layer("Upsample", (), {"scale_factor": 2}, inputs=[(2, 2, 3, 4)]),
    Layer("Upsample", (5,), inputs=[(2, 2, 3)]),
    Layer("Upsample", ((4, 2, 5),), {"mode": "trilinear"}, inputs=[(1, 2, 2, 3, 4)]),
    Layer("Upsample", (), {"scale_factor": (1.5, 2.7), "mode": "bilinear"}, inputs=[(2, 2, 3, 4)]),
    Layer(
        "Upsample",
        (),
        {"scale_factor": 1.7, "mode": "bilinear", "recompute_scale_factor": True},
        inputs=[(1, 2, 3, 4)],
    ),
    Layer("Upsample", ((5, 7),), {"mode": "bicubic", "align_corners": True}, inputs=[(1, 2, 3, 4)]),
    Layer("Upsample", (7,), {"mode": "linear", "align_corners": True}, inputs=[(2, 2, 4)]),
    Layer("Upsample", (), {"scale_factor": 0.6, "mode": "area"}, inputs=[(1, 2, 5, 7)]),
    Layer("Upsample", (), {"scale_factor": 1.3, "mode": "nearest-exact"}, inputs=[(0, 2, 5, 7)]),
    Layer("UpsamplingNearest2d", (), {"scale_factor": 2}, inputs=[(2, 2, 3, 4)]),
    Layer("UpsamplingNearest2d", (5,), inputs=[(2, 2, 3, 4)]),
    Layer("UpsamplingNearest2d", ((2, 3),), inputs=[(2, 2, 5, 7)]),
    Layer("UpsamplingNearest2d", (), {"scale_factor": (1.5, 3.0)}, inputs=[(1, 2, 4, 3)]),
    Layer("UpsamplingNearest2d", (), {"scale_factor": 0.4}, inputs=[(1, 2, 5, 6)]),
    Layer("UpsamplingNearest2d", (4,), inputs=[(0, 2, 3, 4)]),
    Layer("UpsamplingBilinear2d", (), {"scale_factor": 2}, inputs=[(2, 2, 3, 4)]),
    Layer("UpsamplingBilinear2d", (5,), inputs=[(2, 2, 3, 4)]),
    Layer("UpsamplingBilinear2d", ((2, 3),), inputs=[(2, 2, 5, 7)]),
    Layer("UpsamplingBilinear2d", (), {"scale_factor": (1.5, 3.0)}, inputs=[(1, 2, 4, 3)]),
    Layer("UpsamplingBilinear2d", (1,), inputs=[(1, 2, 5, 6)]),
    Layer("UpsamplingBilinear2d", (4,), inputs=[(0, 2, 3, 4)]),
]

RAISES = [
    Layer("PixelShuffle", (2,), inputs=[(2, 6, 2, 3)]).raises(
        ValueError, "channels must be divisible by upscale_factor squared"
    ),
    Layer("PixelShuffle", (2,), inputs=[(4, 3)]).raises(
        ValueError, "pixel_shuffle: input must have shape (..., C, H, W)"
    ),
    Layer("PixelUnshuffle", (2,), inputs=[(2, 6, 3, 4)]).raises(
        ValueError, "height must be divisible by downscale_factor"
    ),
    Layer("PixelUnshuffle", (0,), inputs=[(2, 6, 4, 4)]).raises(
        ValueError, "downscale_factor must be greater than zero"
    ),
    Layer("ChannelShuffle", (4,), inputs=[(2, 6, 3, 2)]).raises(
        ValueError, "channels must be divisible by groups"
    ),
    Layer("ChannelShuffle", (2,), inputs=[(2, 6)]).raises(
        ValueError, "channel_shuffle: input must have shape (N, C, *)"
    ),
    Layer("ChannelShuffle", (0,), inputs=[(2, 6, 3)]).raises(
        ValueError, "groups must be greater than zero"
    ),
    Layer("Upsample", (), inputs=[(2, 2, 3, 4)]).raises(
        ValueError, "give either size or scale_factor"
    ),
    Layer("Upsample", (4, 2), inputs=[(2, 2, 3, 4)]).raises(
        ValueError, "give either size or scale_factor"
    ),
    Layer("Upsample", (4,), {"mode": "linear"}, inputs=[(2, 2, 3, 4)]).raises(
        ValueError, "mode 'linear' takes an input (N, C, ...) of 3 axes"
    ),
    Layer(
        "Upsample", (4,), {"mode": "nearest", "align_corners": True}, inputs=[(2, 2, 3, 4)]
    ).raises(ValueError, "align_corners has no meaning in mode 'nearest'; leave it out"),
    Layer("Upsample", (4,), {"mode": "spline"}, inputs=[(2, 2, 3, 4)]).raises(
        ValueError, "mode must be one of 'nearest', 'nearest-exact', 'area'"
    ),
    Layer("Upsample", ((4, 4, 4),), inputs=[(2, 2, 3, 4)]).raises(
        ValueError, "size must be one number or 2"
    ),
]
