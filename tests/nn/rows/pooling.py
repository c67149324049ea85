"""Rows of the pooling layers."""

from functools import partial

import numpy as np
import pytest

from tests import parity
from tests.parity import uniform, values

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

POWER = [
    Layer("LPPool1d", (2, 3), inputs=[(2, 3, 8)]),
    Layer("LPPool1d", (3, 2, 1), inputs=[(3, 6)]),
    Layer("LPPool1d", (1.5, 2), {"ceil_mode": True}, inputs=[uniform((2, 3, 7), 0.1)]),
    Layer("LPPool1d", (float("inf"), 3), inputs=[TIES]),
    Layer("LPPool1d", (1, 3, 2, True), inputs=[TIES]),
    Layer("LPPool1d", (2, 2), inputs=[values(np.zeros((2, 3, 4)))]),
    Layer("LPPool2d", (2, 2), inputs=[(2, 3, 6, 7)]),
    Layer("LPPool2d", (4, (3, 2)), {"stride": (2, 1)}, inputs=[(3, 6, 7)]),
    Layer(
        "LPPool2d", (2.5, 3), {"ceil_mode": True, "stride": 2}, inputs=[uniform((2, 2, 6, 6), 0.1)]
    ),
    Layer("LPPool2d", (1, (2, 3)), inputs=[(2, 2, 5, 6)]),
    Layer("LPPool2d", (float("inf"), 2), inputs=[(2, 2, 5, 6)]),
    Layer("LPPool2d", (2, 2), inputs=[(0, 3, 6, 7)]),
    Layer("LPPool3d", (2, 2), inputs=[(1, 2, 4, 4, 5)]),
    Layer("LPPool3d", (2, (1, 2, 3)), {"stride": (1, 2, 1)}, inputs=[(2, 3, 4, 5)]),
    Layer("LPPool3d", (1.5, 2), {"ceil_mode": True}, inputs=[uniform((1, 2, 3, 4, 5), 0.1)]),
    Layer("LPPool3d", (4, 2, 1), inputs=[(1, 2, 3, 4, 5)]),
    Layer("LPPool3d", (float("inf"), 2), inputs=[(1, 2, 3, 4, 5)]),
    Layer("LPPool3d", (1, 3), inputs=[(0, 2, 3, 4, 5)]),
]


def _found(axes, shape, kernel, stride=None, padding=0):
    """Positions that pooling of that shape finds, counted without the padding."""
    kernel, stride, padding = (
        np.broadcast_to(n, axes).tolist() for n in (kernel, stride or kernel, padding)
    )
    sides = [(n, n) for n in padding]

    def windows(x):
        last = tuple(range(x.ndim - axes, x.ndim))
        views = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=last)
        taken = views[(..., *(slice(None, None, n) for n in stride), *[slice(None)] * axes)]
        return taken.reshape(*taken.shape[:-axes], np.prod(kernel))

    def make(rng):
        x = np.pad(
            rng.standard_normal(shape),
            [(0, 0)] * (len(shape) - axes) + sides,
            constant_values=-np.inf,
        )
        places = np.arange(np.prod(shape[-axes:])).reshape(shape[-axes:])
        best = windows(x).argmax(-1)[..., None]
        where = np.broadcast_to(windows(np.pad(places, sides)), (*best.shape[:-1], np.prod(kernel)))
        return np.take_along_axis(where, best, -1)[..., 0]

    return make


UNPOOL = [
    Layer("MaxUnpool1d", (2,), inputs=[(2, 3, 4), _found(1, (2, 3, 8), 2)]),
    Layer("MaxUnpool1d", (3, 2, 1), inputs=[(2, 3, 4), _found(1, (2, 3, 7), 3, 2, 1)]),
    Layer(
        "MaxUnpool1d",
        (2,),
        inputs=[(3, 4), _found(1, (3, 9), 2)],
        call={"output_size": [9]},
    ),
    Layer(
        "MaxUnpool1d",
        (2, 1),
        inputs=[(2, 3, 6), _found(1, (2, 3, 7), 2, 1)],
        note="one element twice",
    ),
    Layer("MaxUnpool1d", (1,), inputs=[(2, 3, 4), _found(1, (2, 3, 4), 1)]),
    Layer("MaxUnpool1d", (2,), inputs=[(0, 3, 4), _found(1, (0, 3, 8), 2)]),
    Layer("MaxUnpool2d", (2,), inputs=[(2, 2, 3, 2), _found(2, (2, 2, 6, 4), 2)]),
    Layer(
        "MaxUnpool2d",
        ((2, 3), (2, 2), (1, 0)),
        inputs=[(2, 2, 3, 2), _found(2, (2, 2, 4, 5), (2, 3), 2, (1, 0))],
    ),
    Layer(
        "MaxUnpool2d",
        (2,),
        inputs=[(2, 2, 2), _found(2, (2, 5, 5), 2)],
        call={"output_size": [5, 5]},
    ),
    Layer(
        "MaxUnpool2d",
        (3, 1),
        inputs=[(1, 2, 3, 3), _found(2, (1, 2, 5, 5), 3, 1)],
        note="one element twice",
    ),
    Layer(
        "MaxUnpool2d",
        (2, 3),
        inputs=[(1, 2, 2, 2), _found(2, (1, 2, 5, 6), 2, 3)],
        call={"output_size": [1, 2, 5, 6]},
    ),
    Layer("MaxUnpool2d", (2,), inputs=[(0, 2, 3, 2), _found(2, (0, 2, 6, 4), 2)]),
    Layer("MaxUnpool3d", (2,), inputs=[(1, 2, 2, 2, 1), _found(3, (1, 2, 4, 4, 2), 2)]),
    Layer("MaxUnpool3d", ((1, 2, 3),), inputs=[(2, 2, 2, 1), _found(3, (2, 2, 4, 3), (1, 2, 3))]),
    Layer(
        "MaxUnpool3d",
        (2, 1),
        inputs=[(1, 1, 2, 3, 2), _found(3, (1, 1, 3, 4, 3), 2, 1)],
        note="one element twice",
    ),
    Layer(
        "MaxUnpool3d",
        (2,),
        inputs=[(1, 2, 2, 2, 1), _found(3, (1, 2, 5, 4, 3), 2)],
        call={"output_size": [5, 4, 3]},
    ),
    Layer("MaxUnpool3d", (3, 2, 1), inputs=[(1, 2, 2, 2, 2), _found(3, (1, 2, 3, 3, 3), 3, 2, 1)]),
    Layer("MaxUnpool3d", (2,), inputs=[(0, 2, 2, 2, 1), _found(3, (0, 2, 4, 4, 2), 2)]),
]


def _fractional(axes, shape, *args, **kwargs):
    """The same windows on both sides: PyTorch draws them from its own generator otherwise."""
    samples = np.random.default_rng(5).random(
        (shape[0] if len(shape) == axes + 2 else 1, shape[-axes - 1], axes)
    )

    def build(nn):
        given = (
            samples
            if nn.__name__.startswith("funcnet")
            else pytest.importorskip("torch").from_numpy(samples)
        )
        return getattr(nn, f"FractionalMaxPool{axes}d")(*args, _random_samples=given, **kwargs)

    # the layer keeps the samples as a buffer, of which the driver would make others of its own
    return Layer(
        f"FractionalMaxPool{axes}d",
        args,
        kwargs,
        inputs=[shape],
        build=build,
        dtypes=False,
        vmap=False,
    )


FRACTIONAL = [
    _fractional(2, (2, 3, 7, 8), 2, 4),
    _fractional(2, (2, 3, 7, 8), (3, 2), (2, 5), return_indices=True),
    _fractional(2, (3, 7, 8), 2, None, 0.5),
    _fractional(2, (2, 3, 7, 8), 3, None, (0.4, 0.7), True),
    _fractional(2, (1, 2, 5, 5), 5, 1),
    _fractional(2, (1, 2, 5, 6), 1, (5, 6)),
    _fractional(3, (1, 2, 5, 6, 7), 2, 3),
    _fractional(3, (1, 2, 5, 6, 7), (1, 2, 3), (4, 2, 4), return_indices=True),
    _fractional(3, (2, 5, 6, 7), 2, None, 0.5),
    _fractional(3, (1, 2, 5, 6, 7), 2, None, (0.3, 0.5, 0.7), True),
    _fractional(3, (1, 2, 4, 5, 4), 3, 1),
    _fractional(3, (2, 1, 4, 5, 4), 1, (3, 3, 2)),
]

ROWS = MAX + AVERAGE + POWER + UNPOOL + FRACTIONAL

RAISES = [
    Layer("MaxPool1d", (3,), {"padding": 2}, inputs=[(2, 3, 7)]).raises(
        ValueError, "padding must be at most half of kernel_size"
    ),
    Layer("MaxPool1d", (8,), inputs=[(2, 3, 7)]).raises(
        ValueError, "a window of 8 elements, 1 apart"
    ),
    Layer("MaxPool2d", (2,), {"dilation": 0}, inputs=[(2, 3, 6, 7)]).raises(
        ValueError, "dilation must be greater than zero"
    ),
    Layer("MaxPool2d", (2, 0), inputs=[(2, 3, 6, 7)]).raises(
        ValueError, "stride must be greater than zero"
    ),
    Layer("MaxPool2d", (2.5,), inputs=[(2, 3, 6, 7)]).raises(
        TypeError, "kernel_size must be a whole number or 2 of them"
    ),
    Layer("MaxPool2d", (2,), inputs=[(6, 7)]).raises(
        ValueError, "max_pool2d: input must have shape (..., C, H, W)"
    ),
    Layer("MaxPool2d", (2,), inputs=[(2, 0, 6, 7)]).raises(
        ValueError, "max_pool2d: input must have shape (..., C, H, W)"
    ),
    Layer("MaxPool3d", ((2, 2),), inputs=[(2, 3, 4, 4, 4)]).raises(
        ValueError, "kernel_size must be one number or 3 of them"
    ),
    Layer("AvgPool1d", (3, 1, 2), inputs=[(2, 3, 7)]).raises(
        ValueError, "padding must be at most half of kernel_size"
    ),
    Layer("AvgPool2d", (2,), {"divisor_override": 0}, inputs=[(2, 3, 6, 7)]).raises(
        ValueError, "divisor_override must not be zero"
    ),
    Layer("AvgPool2d", (0,), inputs=[(2, 3, 6, 7)]).raises(
        ValueError, "kernel_size must be greater than zero"
    ),
    Layer("AvgPool3d", (5,), {"padding": 1}, inputs=[(2, 3, 4, 6, 6)]).raises(
        ValueError, "avg_pool3d: kernel_size must not exceed the input's sizes"
    ),
    Layer("AdaptiveAvgPool2d", (-1,), inputs=[(2, 3, 6, 7)]).raises(
        ValueError, "output_size must not be negative"
    ),
    Layer("AdaptiveAvgPool2d", ((2, 2, 2),), inputs=[(2, 3, 6, 7)]).raises(
        ValueError, "output_size must be one number or 2 of them"
    ),
    Layer("AdaptiveAvgPool3d", (2,), inputs=[(3, 6, 7)]).raises(
        ValueError, "adaptive_avg_pool3d: input must have shape (..., C, D, H,"
    ),
    Layer("AdaptiveMaxPool2d", (2,), inputs=[(6, 7)]).raises(
        ValueError, "adaptive_max_pool2d: input must have shape (..., C, H, W)"
    ),
    Layer("LPPool2d", (2, 7), inputs=[(2, 3, 6, 6)]).raises(
        ValueError, "a window of 7 elements, 1 apart"
    ),
    Layer("LPPool1d", (0, 2), inputs=[(2, 3, 6)]).raises(ValueError, "norm_type must not be zero"),
    Layer("MaxUnpool2d", (2,), inputs=[(2, 3, 4), values(np.zeros((2, 3, 5), int))]).raises(
        ValueError, "max_unpool2d: input and indices must have one shape, (...,"
    ),
    Layer(
        "MaxUnpool2d",
        (2,),
        inputs=[(2, 2, 2), values(np.zeros((2, 2, 2), int))],
        call={"output_size": [7, 4]},
    ).raises(ValueError, "output_size must differ from (4, 4) by less than the stride"),
    Layer(
        "MaxUnpool2d",
        (2,),
        inputs=[(2, 2, 2), values(np.zeros((2, 2, 2), int))],
        call={"output_size": [4]},
    ).raises(ValueError, "output_size must hold 2 or 4 numbers"),
    Layer("FractionalMaxPool2d", (2,), inputs=[(2, 6, 6)]).raises(
        ValueError, "give either output_size or output_ratio"
    ),
    Layer("FractionalMaxPool2d", (2, 3, 0.5), inputs=[(2, 6, 6)]).raises(
        ValueError, "give either output_size or output_ratio"
    ),
    Layer("FractionalMaxPool2d", (2,), {"output_ratio": 1.5}, inputs=[(2, 6, 6)]).raises(
        ValueError, "output_ratio must lie between 0 and 1"
    ),
]
