"""Rows of the convolution layers, transposed ones included."""

from functools import partial

from tests import parity

Layer = partial(parity.Layer, train=False)  # these layers compute the same in training

FORWARD = [
    Layer("Conv1d", (2, 3, 3), inputs=[(2, 2, 9)]),
    Layer("Conv1d", (4, 6, 3), {"groups": 2, "stride": 2, "padding": 1}, inputs=[(2, 4, 9)]),
    Layer("Conv1d", (2, 3, 4), {"padding": "same", "dilation": 2}, inputs=[(2, 2, 9)]),
    Layer("Conv1d", (2, 3, 2), {"padding": "valid", "bias": False}, inputs=[(2, 9)]),
    Layer("Conv1d", (2, 4, 3), {"padding": 2, "padding_mode": "circular"}, inputs=[(2, 2, 7)]),
    Layer("Conv1d", (3, 3, 3), {"groups": 3, "dilation": 2}, inputs=[(0, 3, 9)]),
    Layer("Conv2d", (2, 3, 3), inputs=[(2, 2, 6, 7)]),
    Layer(
        "Conv2d",
        (4, 6, (3, 2)),
        {"groups": 2, "stride": (2, 1), "padding": (1, 0)},
        inputs=[(2, 4, 6, 7)],
    ),
    Layer("Conv2d", (2, 3, (2, 3)), {"padding": "same", "dilation": (1, 2)}, inputs=[(2, 2, 6, 7)]),
    Layer("Conv2d", (3, 6, 3), {"groups": 3, "padding": 1, "bias": False}, inputs=[(2, 3, 5, 6)]),
    Layer(
        "Conv2d", (2, 3, 3), {"padding": (2, 1), "padding_mode": "reflect"}, inputs=[(2, 2, 5, 6)]
    ),
    Layer(
        "Conv2d",
        (2, 3, 3),
        {"padding": 1, "padding_mode": "replicate", "stride": 2},
        inputs=[(2, 5, 6)],
    ),
    Layer(
        "Conv2d",
        (2, 3, (3, 2)),
        {"padding": "same", "padding_mode": "circular"},
        inputs=[(2, 2, 5, 6)],
    ),
    Layer("Conv2d", (2, 3, 1), inputs=[(2, 2, 4, 3)]),
    Layer("Conv3d", (2, 3, 2), inputs=[(2, 2, 3, 4, 5)]),
    Layer(
        "Conv3d",
        (4, 4, (1, 2, 3)),
        {"groups": 2, "stride": (1, 2, 1), "padding": (0, 1, 1)},
        inputs=[(1, 4, 3, 4, 5)],
    ),
    Layer("Conv3d", (2, 3, 3), {"padding": "same", "bias": False}, inputs=[(2, 3, 4, 5)]),
    Layer("Conv3d", (2, 2, 2), {"padding": 1, "padding_mode": "reflect"}, inputs=[(1, 2, 3, 3, 4)]),
    Layer("Conv3d", (2, 2, 2), {"dilation": (1, 2, 3), "stride": 2}, inputs=[(1, 2, 3, 5, 6)]),
    Layer("Conv3d", (3, 3, 2), {"groups": 3, "padding": "valid"}, inputs=[(0, 3, 3, 4, 5)]),
]

TRANSPOSED = [
    Layer("ConvTranspose1d", (2, 3, 3), inputs=[(2, 2, 5)]),
    Layer("ConvTranspose1d", (4, 6, 3, 2, 1, 1), {"groups": 2}, inputs=[(2, 4, 5)]),
    Layer(
        "ConvTranspose1d", (2, 3, 4), {"dilation": 2, "bias": False, "padding": 2}, inputs=[(2, 5)]
    ),
    Layer("ConvTranspose1d", (2, 3, 1), {"stride": 3, "output_padding": 2}, inputs=[(2, 2, 4)]),
    Layer(
        "ConvTranspose1d", (2, 3, 3), {"stride": 3}, inputs=[(2, 2, 4)], call={"output_size": [13]}
    ),
    Layer(
        "ConvTranspose1d",
        (3, 3, 2),
        {"groups": 3, "dilation": 3, "output_padding": 2},
        inputs=[(0, 3, 4)],
    ),
    Layer("ConvTranspose2d", (2, 3, 3), inputs=[(2, 2, 3, 4)]),
    Layer("ConvTranspose2d", (2, 3, 4, 2, 1), inputs=[(2, 2, 3, 4)]),
    Layer("ConvTranspose2d", (4, 4, (3, 2), (2, 1), (1, 0), (1, 0), 2), inputs=[(2, 4, 3, 4)]),
    Layer(
        "ConvTranspose2d", (2, 2, 2), {"dilation": (1, 3), "padding": (1, 2)}, inputs=[(2, 3, 4)]
    ),
    Layer("ConvTranspose2d", (2, 3, 3, 2), inputs=[(1, 2, 3, 3)], call={"output_size": [8, 7]}),
    Layer(
        "ConvTranspose2d", (2, 3, 3, 2), inputs=[(1, 2, 3, 3)], call={"output_size": [1, 3, 7, 8]}
    ),
    Layer("ConvTranspose2d", (3, 6, 3, 2), {"groups": 3, "bias": False}, inputs=[(2, 3, 2, 3)]),
    Layer("ConvTranspose3d", (2, 3, 2), inputs=[(1, 2, 2, 3, 2)]),
    Layer("ConvTranspose3d", (2, 2, 2, 2), inputs=[(1, 2, 2, 3, 2)]),
    Layer(
        "ConvTranspose3d",
        (4, 2, (1, 2, 3), (1, 2, 2), (0, 1, 1), (0, 1, 0), 2),
        inputs=[(1, 4, 2, 3, 2)],
    ),
    Layer(
        "ConvTranspose3d",
        (2, 2, 2),
        {"dilation": 2, "bias": False, "padding": 1},
        inputs=[(2, 2, 2, 3)],
    ),
    Layer(
        "ConvTranspose3d", (1, 2, 2, 3), inputs=[(1, 1, 2, 2, 2)], call={"output_size": [6, 5, 7]}
    ),
    Layer("ConvTranspose3d", (2, 2, 2), {"groups": 2}, inputs=[(0, 2, 2, 2, 3)]),
]

ROWS = FORWARD + TRANSPOSED

RAISES = [
    Layer("Conv1d", (3, 4, 3), {"groups": 2}, inputs=[(2, 3, 9)]).raises(
        ValueError, "in_channels must be divisible by groups"
    ),
    Layer("Conv1d", (2, 3, 3), {"padding": "same", "stride": 2}, inputs=[(2, 2, 9)]).raises(
        ValueError, "padding='same' needs stride 1"
    ),
    Layer("Conv1d", (2, 3, 3), {"padding": "full"}, inputs=[(2, 2, 9)]).raises(
        ValueError, "padding must be one of 'same', 'valid'"
    ),
    Layer("Conv2d", (4, 3, 3), {"groups": 2}, inputs=[(2, 4, 9, 9)]).raises(
        ValueError, "out_channels must be divisible by groups"
    ),
    Layer("Conv2d", (2, 2, 3), {"groups": 0}, inputs=[(2, 2, 9, 9)]).raises(
        ValueError, "groups must be greater than zero"
    ),
    Layer("Conv2d", (2, 3, 3), {"padding_mode": "mirror"}, inputs=[(2, 2, 9, 9)]).raises(
        ValueError, "padding_mode must be one of 'zeros', 'reflect'"
    ),
    Layer("Conv2d", (2, 3, 3), inputs=[(2, 3, 9, 9)]).raises(
        ValueError, "conv2d: weight of shape (3, 2, 3, 3) with groups=1 expects"
    ),
    Layer("Conv2d", (2, 3, 3), inputs=[(9, 9)]).raises(
        ValueError, "conv2d: input must have shape (N, C, H, W), N optional"
    ),
    Layer("Conv2d", (2, 3, 3), inputs=[(2, 2, 2, 9)]).raises(
        ValueError, "conv2d: a kernel of 3 elements, 1 apart"
    ),
    Layer("Conv2d", (2, 3, 3), inputs=[(2, 2, 0, 9)]).raises(
        ValueError, "conv2d: input must have shape (N, C, H, W), N optional"
    ),
    Layer(
        "Conv2d", (2, 3, 3), {"padding": 5, "padding_mode": "reflect"}, inputs=[(2, 2, 4, 9)]
    ).raises(ValueError, "reflection padding must be smaller than the axis"),
    Layer("Conv3d", (2, 3, 3), {"stride": 0}, inputs=[(2, 2, 4, 4, 4)]).raises(
        ValueError, "stride must be greater than zero"
    ),
    Layer("ConvTranspose1d", (2, 3, 3), {"padding_mode": "reflect"}, inputs=[(2, 2, 4)]).raises(
        ValueError, "transposed convolution has only padding_mode 'zeros'"
    ),
    Layer("ConvTranspose2d", (3, 4, 3), {"groups": 2}, inputs=[(2, 3, 3, 4)]).raises(
        ValueError, "in_channels must be divisible by groups"
    ),
    Layer("ConvTranspose2d", (2, 3, 3), {"output_padding": 1}, inputs=[(2, 2, 4, 4)]).raises(
        ValueError, "output_padding must be smaller than stride or dilation"
    ),
    Layer(
        "ConvTranspose2d",
        (2, 3, 3),
        {"stride": 2},
        inputs=[(2, 2, 4, 4)],
        call={"output_size": [11, 11]},
    ).raises(ValueError, "output_size must lie between [9, 9] and [10"),
    Layer(
        "ConvTranspose2d",
        (2, 3, 3),
        {"stride": 2},
        inputs=[(2, 2, 4, 4)],
        call={"output_size": [9]},
    ).raises(ValueError, "output_size must hold 2 numbers, or 4 as the input"),
    Layer("ConvTranspose2d", (2, 3, 3), {"padding": 3}, inputs=[(2, 2, 3, 4)]).raises(
        ValueError, "conv_transpose2d: padding (3, 3) leaves nothing of the"
    ),
    Layer("ConvTranspose2d", (2, 3, 3), inputs=[(2, 4, 3, 4)]).raises(
        ValueError, "conv_transpose2d: weight of shape (2, 3, 3, 3) with groups=1 expects 2"
    ),
    Layer("ConvTranspose2d", (2, 3, 3), inputs=[(4, 4)]).raises(
        ValueError, "conv_transpose2d: input must have shape (N, C, H, W)"
    ),
]
