"""Rows of the layers that pad and that lay blocks out."""

from functools import partial

from tests import parity

Layer = partial(parity.Layer, train=False)  # these layers compute the same in training

SHAPES = {1: (2, 3, 4), 2: (2, 2, 4, 3), 3: (1, 2, 4, 3, 4)}
SIDES = {
    1: [1, (2, 1), (0, 3), (-1, 2), (1, -2), (-1, -1)],
    2: [1, (2, 1, 0, 3), (1, 1, 2, 2), (-1, 2, 1, -1), (0, 0, 3, 0), (-1, 0, 0, -2)],
    3: [
        1,
        (2, 1, 0, 2, 3, 1),
        (1, 1, 2, 2, 0, 0),
        (-1, 2, 1, -1, -2, 1),
        (0, 0, 0, 0, 3, 0),
        (0, -1, -1, 0, -1, -1),
    ],
}


def _rows(kind: str, *extra: float) -> list[parity.Layer]:
    """Six paddings in each dimension: even, uneven, cropping; with, without and with empty batch axis."""
    rows = []
    for axes, sides in SIDES.items():
        shapes = [SHAPES[axes]] * 3 + [SHAPES[axes][1:]] * 2 + [(0, *SHAPES[axes][1:])]
        for padding, shape in zip(sides, shapes, strict=True):
            rows.append(Layer(f"{kind}Pad{axes}d", (padding, *extra), inputs=[shape]))
    return rows


FOLDING = [
    Layer("Unfold", (2,), inputs=[(2, 3, 4, 5)]),
    Layer("Unfold", ((2, 3),), {"stride": (2, 1), "padding": (1, 0)}, inputs=[(2, 3, 4, 5)]),
    Layer("Unfold", (2, 2), inputs=[(3, 4, 5)]),
    Layer("Unfold", (2, 1, 0, 2), inputs=[(2, 3, 5, 5)]),
    Layer("Unfold", (3, (1, 2), 2, 3), inputs=[(2, 2, 4, 5)]),
    Layer("Unfold", (2,), inputs=[(0, 3, 4, 5)]),
    Layer("Fold", ((4, 5), 2), inputs=[(2, 12, 12)]),
    Layer("Fold", (4, (2, 3)), {"stride": (2, 1), "padding": (1, 0)}, inputs=[(2, 12, 6)]),
    Layer("Fold", ((4, 5), 2, 2), inputs=[(8, 6)]),
    Layer("Fold", ((5, 5), 2, 1, 0, 2), inputs=[(2, 4, 4)]),
    Layer("Fold", ((4, 5), 3, (1, 2), 2, 3), inputs=[(2, 18, 4)]),
    Layer("Fold", ((4, 5), 2), inputs=[(0, 12, 12)]),
]

ROWS = [
    *_rows("Zero"),
    *_rows("Constant", 1.5),
    *_rows("Reflection"),
    *_rows("Replication"),
    *_rows("Circular"),
    *FOLDING,
]

RAISES = [
    Layer("ReflectionPad1d", (4,), inputs=[(2, 3, 4)]).raises(
        ValueError, "reflection padding must be smaller than the axis"
    ),
    Layer("ReflectionPad2d", ((1, 1, 4, 1),), inputs=[(2, 3, 4, 4)]).raises(
        ValueError, "reflection padding must be smaller than the axis"
    ),
    Layer("CircularPad1d", (5,), inputs=[(2, 3, 4)]).raises(
        ValueError, "circular padding must not go around more than once"
    ),
    Layer("CircularPad2d", (1,), inputs=[(4, 4)]).raises(
        ValueError, "padding mode 'circular' of 2 axes needs an array of more"
    ),
    Layer("ReplicationPad2d", ((1, 2, 3),), inputs=[(2, 3, 4, 4)]).raises(
        ValueError, "padding must be one number or 4 of them"
    ),
    Layer("ReplicationPad1d", (-3,), inputs=[(2, 3, 4)]).raises(
        ValueError, "padding (-3, -3) leaves nothing of an axis of 4 elements"
    ),
    Layer("ZeroPad2d", (-3,), inputs=[(2, 3, 4, 4)]).raises(
        ValueError, "padding (-3, -3) leaves nothing of an axis of 4 elements"
    ),
    Layer("ConstantPad2d", (1,), inputs=[(2, 3, 4, 4)]).raises(
        TypeError, "missing 1 required positional argument: 'value'"
    ),
    Layer("ZeroPad3d", (1,), inputs=[(4, 4)]).raises(
        ValueError, "pad must hold two numbers for each padded axis"
    ),
    Layer("Unfold", (5,), inputs=[(2, 3, 4, 4)]).raises(
        ValueError, "a window of 5 elements, 1 apart"
    ),
    Layer("Unfold", (2,), inputs=[(4, 4)]).raises(
        ValueError, "unfold: input must have shape (..., C, H, W)"
    ),
    Layer("Fold", ((4, 5), 2), inputs=[(2, 12, 11)]).raises(
        ValueError, "fold: input must have shape (..., C * 4, 12) for"
    ),
    Layer("Fold", ((4, 5), 2), inputs=[(2, 13, 12)]).raises(
        ValueError, "fold: input must have shape (..., C * 4, 12) for"
    ),
]
