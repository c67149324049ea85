"""Rows of the pooling layers."""

from functools import partial

from tests import parity
from tests.parity import values

Layer = partial(parity.Layer, train=False)  # these layers compute the same in training

TIES = values(
    [[[1.0, 3.0, 3.0, 2.0, 2.0, 1.0, 0.0]] * 2, [[0.0, 0.0, -1.0, 4.0, 4.0, 4.0, 1.0]] * 2]
)

MAX = [
    Layer("MaxPool1d", (2,), inputs=[(2, 3, 7)]),
    Layer("MaxPool1d", (3,), {"stride": 1, "padding": 1}, inputs=[TIES]),
    Layer("MaxPool1d", (3,), {"dilation": 2, "ceil_mode": True, "stride": 2}, inputs=[(3, 8)]),
    Layer("MaxPool1d", (3, 2, 1, 1, True), inputs=[TIES]),
    Layer("MaxPool1d", (9,), {"stride": 1, "padding": 3}, inputs=[(2, 3, 20)]),
    Layer("MaxPool1d", (2,), inputs=[(0, 3, 7)]),
    Layer("MaxPool2d", (2,), inputs=[(2, 3, 6, 7)]),
    Layer("MaxPool2d", (3, 2, 1), inputs=[(2, 3, 6, 7)]),
    Layer(
        "MaxPool2d",
        ((3, 2),),
        {"stride": (2, 1), "padding": (1, 0), "ceil_mode": True},
        inputs=[(3, 6, 7)],
    ),
    Layer("MaxPool2d", (2,), {"dilation": (2, 3), "stride": 1}, inputs=[(2, 2, 6, 7)]),
    Layer(
        "MaxPool2d",
        (3,),
        {"return_indices": True, "padding": 1, "ceil_mode": True},
        inputs=[(2, 2, 5, 7)],
    ),
    Layer(
        "MaxPool2d",
        (7,),
        {"return_indices": True, "stride": 1, "padding": 2},
        inputs=[(1, 2, 9, 10)],
    ),
    Layer("MaxPool2d", (2,), {"return_indices": True}, inputs=[(0, 3, 4, 4)]),
    Layer("MaxPool3d", (2,), inputs=[(2, 2, 4, 4, 5)]),
    Layer(
        "MaxPool3d",
        ((1, 2, 3),),
        {"stride": (1, 2, 2), "padding": (0, 1, 1)},
        inputs=[(1, 2, 3, 4, 5)],
    ),
    Layer("MaxPool3d", (2,), {"dilation": 2, "stride": 1}, inputs=[(2, 4, 4, 5)]),
    Layer("MaxPool3d", (3, 2, 1), {"ceil_mode": True}, inputs=[(1, 2, 4, 4, 5)]),
    Layer(
        "MaxPool3d",
        (2, 2, 1),
        {"return_indices": True, "ceil_mode": True},
        inputs=[(1, 2, 3, 3, 5)],
    ),
    Layer("MaxPool3d", (2,), inputs=[(0, 2, 4, 4, 4)]),
    Layer("AdaptiveMaxPool1d", (3,), inputs=[(2, 3, 7)]),
    Layer("AdaptiveMaxPool1d", (3, True), inputs=[TIES]),
    Layer("AdaptiveMaxPool1d", (4,), inputs=[(3, 8)]),
    Layer("AdaptiveMaxPool1d", (9,), inputs=[(2, 3, 7)]),
    Layer("AdaptiveMaxPool1d", (1, True), inputs=[(2, 3, 40)]),
    Layer("AdaptiveMaxPool1d", (2,), inputs=[(0, 3, 7)]),
    Layer("AdaptiveMaxPool2d", (3,), inputs=[(2, 2, 5, 7)]),
    Layer("AdaptiveMaxPool2d", ((None, 2),), {"return_indices": True}, inputs=[(2, 2, 5, 7)]),
    Layer("AdaptiveMaxPool2d", ((3, 4),), {"return_indices": True}, inputs=[(2, 6, 8)]),
    Layer("AdaptiveMaxPool2d", (1,), inputs=[(2, 2, 5, 7)]),
    Layer("AdaptiveMaxPool2d", ((6, 9),), inputs=[(2, 2, 5, 7)]),
    Layer("AdaptiveMaxPool2d", ((2, 3),), inputs=[(0, 2, 5, 7)]),
    Layer("AdaptiveMaxPool3d", (2,), inputs=[(1, 2, 3, 4, 5)]),
    Layer("AdaptiveMaxPool3d", ((2, None, 1), True), inputs=[(1, 2, 3, 4, 5)]),
    Layer("AdaptiveMaxPool3d", ((1, 2, 4),), inputs=[(2, 3, 4, 5)]),
    Layer("AdaptiveMaxPool3d", (1,), inputs=[(1, 2, 3, 4, 5)]),
    Layer("AdaptiveMaxPool3d", (4,), inputs=[(1, 2, 3, 4, 5)]),
    Layer("AdaptiveMaxPool3d", (2,), inputs=[(0, 2, 3, 4, 5)]),
]

AVERAGE = [
    Layer("AvgPool1d", (2,), inputs=[(2, 3, 7)]),
    Layer("AvgPool1d", (3, 2, 1), inputs=[(2, 3, 7)]),
    Layer("AvgPool1d", (3, 2, 1, True), inputs=[(3, 8)]),
    Layer(
        "AvgPool1d",
        (4,),
        {"stride": 3, "padding": 2, "count_include_pad": False},
        inputs=[(2, 3, 9)],
    ),
    Layer("AvgPool1d", (7,), inputs=[(2, 3, 7)]),
    Layer("AvgPool1d", (2,), {"ceil_mode": True, "count_include_pad": False}, inputs=[(0, 3, 7)]),
    Layer("AvgPool2d", (2,), inputs=[(2, 3, 6, 7)]),
    Layer("AvgPool2d", (3, 2, 1, True), inputs=[(2, 3, 6, 8)]),
    Layer(
        "AvgPool2d",
        ((3, 2),),
        {"stride": (1, 2), "padding": (1, 0), "count_include_pad": False},
        inputs=[(3, 6, 7)],
    ),
    Layer("AvgPool2d", (3,), {"divisor_override": 4, "padding": 1}, inputs=[(2, 2, 6, 7)]),
    Layer("AvgPool2d", ((6, 7),), inputs=[(2, 3, 6, 7)]),
    Layer("AvgPool2d", (3, 3, 1, True, False), inputs=[(0, 3, 6, 7)]),
    Layer("AvgPool3d", (2,), inputs=[(2, 2, 4, 4, 5)]),
    Layer("AvgPool3d", (3, 2, 1, True), inputs=[(1, 2, 4, 4, 6)]),
    Layer(
        "AvgPool3d",
        ((1, 2, 3),),
        {"padding": (0, 1, 1), "count_include_pad": False},
        inputs=[(2, 3, 4, 5)],
    ),
    Layer("AvgPool3d", (2, 1), {"divisor_override": -3}, inputs=[(1, 2, 3, 4, 5)]),
    Layer("AvgPool3d", ((2, 3, 2), (2, 1, 3)), {"ceil_mode": True}, inputs=[(1, 2, 3, 4, 6)]),
    Layer("AvgPool3d", (2,), inputs=[(0, 2, 4, 4, 5)]),
    Layer("AdaptiveAvgPool1d", (3,), inputs=[(2, 3, 7)]),
    Layer("AdaptiveAvgPool1d", (4,), inputs=[(3, 8)]),
    Layer("AdaptiveAvgPool1d", (1,), inputs=[(2, 3, 7)]),
    Layer("AdaptiveAvgPool1d", (9,), inputs=[(2, 3, 7)]),
    Layer("AdaptiveAvgPool1d", (7,), inputs=[(2, 3, 7)]),
    Layer("AdaptiveAvgPool1d", (2,), inputs=[(0, 3, 7)]),
    Layer("AdaptiveAvgPool2d", (3,), inputs=[(2, 2, 5, 7)]),
    Layer("AdaptiveAvgPool2d", ((None, 2),), inputs=[(2, 2, 5, 7)]),
    Layer("AdaptiveAvgPool2d", ((3, 4),), inputs=[(2, 6, 8)]),
    Layer("AdaptiveAvgPool2d", (1,), inputs=[(2, 2, 5, 7)]),
    Layer("AdaptiveAvgPool2d", ((6, 9),), inputs=[(2, 2, 5, 7)]),
    Layer("AdaptiveAvgPool2d", ((2, 3),), inputs=[(0, 2, 5, 7)]),
    Layer("AdaptiveAvgPool3d", (2,), inputs=[(1, 2, 3, 4, 5)]),
    Layer("AdaptiveAvgPool3d", ((2, None, 1),), inputs=[(1, 2, 3, 4, 5)]),
    Layer("AdaptiveAvgPool3d", ((1, 2, 4),), inputs=[(2, 3, 4, 5)]),
    Layer("AdaptiveAvgPool3d", (1,), inputs=[(1, 2, 3, 4, 5)]),
    Layer("AdaptiveAvgPool3d", (4,), inputs=[(1, 2, 3, 4, 5)]),
    Layer("AdaptiveAvgPool3d", (2,), inputs=[(0, 2, 3, 4, 5)]),
]

ROWS = MAX + AVERAGE

RAISES = [
    Layer("MaxPool1d", (3,), {"padding": 2}, inputs=[(2, 3, 7)]),
    Layer("MaxPool1d", (8,), inputs=[(2, 3, 7)]),
    Layer("MaxPool2d", (2,), {"dilation": 0}, inputs=[(2, 3, 6, 7)]),
    Layer("MaxPool2d", (2, 0), inputs=[(2, 3, 6, 7)]),
    Layer("MaxPool2d", (2.5,), inputs=[(2, 3, 6, 7)]),
    Layer("MaxPool2d", (2,), inputs=[(6, 7)]),
    Layer("MaxPool2d", (2,), inputs=[(2, 0, 6, 7)]),
    Layer("MaxPool3d", ((2, 2),), inputs=[(2, 3, 4, 4, 4)]),
    Layer("AvgPool1d", (3, 1, 2), inputs=[(2, 3, 7)]),
    Layer("AvgPool2d", (2,), {"divisor_override": 0}, inputs=[(2, 3, 6, 7)]),
    Layer("AvgPool2d", (0,), inputs=[(2, 3, 6, 7)]),
    Layer("AvgPool3d", (5,), {"padding": 1}, inputs=[(2, 3, 4, 6, 6)]),
    Layer("AdaptiveAvgPool2d", (-1,), inputs=[(2, 3, 6, 7)]),
    Layer("AdaptiveAvgPool2d", ((2, 2, 2),), inputs=[(2, 3, 6, 7)]),
    Layer("AdaptiveAvgPool3d", (2,), inputs=[(3, 6, 7)]),
    Layer("AdaptiveMaxPool2d", (2,), inputs=[(6, 7)]),
]
