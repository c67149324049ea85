"""Rows of the activation layers."""

import numpy as np

from tests.parity import Layer, values

KINKS = values(np.array([-800, -20, -6, -3, -1, -0.5, -0.1, -0.0, 0, 0.1, 0.5, 1, 3, 6, 20, 800.0]))
"""Where the pieces meet, and far out: the gradient there is a matter of definition."""

SHAPES = [KINKS, (2, 1, 3, 2), (), (0, 3)]


def _each(layer):
    """Apply the layer to every input: one compilation for many shapes."""
    return lambda *inputs: [layer(x) for x in inputs]


def _several(name, args, shapes, **settings):
    return Layer(
        name,
        args,
        inputs=shapes,
        ours=_each,
        theirs=_each,
        train=False,
        vmap=False,
        dtypes=False,
        **settings,
    )


POINTWISE = {
    "ReLU": [((),)],
    "ReLU6": [((),)],
    "Hardtanh": [((),), ((-3.0, 0.5),)],
    "Threshold": [((0.1, 20.0),), ((-1.0, 0.0),)],
    "LeakyReLU": [((),), ((0.5,),), ((-0.3,),)],
    "RReLU": [((),), ((0.25, 0.75),)],
    "Hardshrink": [((),), ((1.0,),)],
    "Softshrink": [((),), ((1.0,),), ((0.0,),)],
    "Hardsigmoid": [((),)],
    "Hardswish": [((),)],
    "Sigmoid": [((),)],
    "Tanh": [((),)],
    "Tanhshrink": [((),)],
    "Softsign": [((),)],
    "Softplus": [((),), ((2.0, 5.0),), ((0.5,),)],
    "LogSigmoid": [((),)],
    "ELU": [((),), ((2.0,),)],
    "CELU": [((),), ((1.3,),), ((0.3,),)],
    "SELU": [((),)],
    "SiLU": [((),)],
    "Mish": [((),)],
    "GELU": [((),), (("tanh",),)],
}


def _softmaxes(name):
    large = values([[1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0], [-900.0, 0.0, 1.0]])
    return [
        Layer(name, (-1,), inputs=[(3, 4)], train=False),
        _several(name, (0,), [(3, 4), (5,), (), (2, 3, 4)]),
        _several(name, (-1,), [(3, 4), (5,), (), (0, 4), large]),
        _several(name, (1,), [(3, 4), (0, 4), (2, 3, 4, 5), large]),
        _several(name, (-2,), [(3, 4), (2, 3, 4)]),
        _several(name, (2,), [(2, 3, 4), (2, 3, 4, 5)]),
        _several(name, (3,), [(2, 3, 4, 1), (2, 3, 0, 5)]),
    ]


ROWS = [
    *(
        Layer(name, *settings[0], inputs=[(3, 4)], train=False)
        for name, settings in POINTWISE.items()
    ),
    *(_several(name, *s, SHAPES) for name, settings in POINTWISE.items() for s in settings),
    *_softmaxes("Softmax"),
    *_softmaxes("LogSoftmax"),
    *_softmaxes("Softmin"),
    Layer("Softmax2d", inputs=[(2, 3, 4, 5)], train=False),
    _several(
        "Softmax2d",
        (),
        [(2, 3, 4, 5), (3, 4, 5), (1, 1, 2, 2), (0, 2, 3, 3), (2, 1, 3, 1), (5, 2, 1)],
    ),
    Layer("GLU", inputs=[(3, 4)], train=False),
    *(_several("GLU", (d,), [(4, 6, 2), (2, 4)]) for d in (0, 1, -2)),
    _several("GLU", (), [(4, 6, 2), (8,), (0, 4)]),
    Layer("PReLU", inputs=[(4, 3)]),
    Layer("PReLU", inputs=[KINKS], train=False, note=" kinks"),
    Layer("PReLU", (3,), inputs=[(4, 3)]),
    Layer("PReLU", (3, -0.5), inputs=[(4, 3, 2)]),
    Layer("PReLU", (3,), {"init": 0.75}, inputs=[(2, 3, 2, 5)]),
    Layer("PReLU", (1,), inputs=[()], train=False),
    Layer("PReLU", (3,), inputs=[(0, 3)], train=False),
]

RAISES = [
    Layer("Hardtanh", (1.0, -1.0), inputs=[(3,)]).raises(ValueError, "max_val must exceed min_val"),
    Layer("Threshold", (1.0,), inputs=[(3,)]).raises(
        TypeError, "missing 1 required positional argument: 'value'"
    ),
    Layer("Softshrink", (-1.0,), inputs=[(3,)]).raises(ValueError, "lambd must not be negative"),
    Layer("CELU", (0.0,), inputs=[(3,)]).raises(ValueError, "alpha must not be zero"),
    Layer("GELU", ("erf",), inputs=[(3,)]).raises(
        ValueError, "approximate must be one of 'none', 'tanh'"
    ),
    Layer("RReLU", (0.5, 0.1), inputs=[(3,)]).raises(ValueError, "lower must not exceed upper"),
    Layer("GLU", inputs=[(3, 5)]).raises(
        ValueError, "axis -1 must be even to be halved; input has shape (3, 5)"
    ),
    Layer("GLU", inputs=[()]).raises(
        ValueError, "axis -1 must be even to be halved; input has shape ()"
    ),
    Layer("Softmax", (2,), inputs=[(3, 5)]).raises(
        ValueError, "axis 2 is out of bounds for array of dimension 2"
    ),
    Layer("LogSoftmax", (-3,), inputs=[(3, 5)]).raises(
        ValueError, "axis -3 is out of bounds for array of dimension 2"
    ),
    Layer("Softmin", (1,), inputs=[()]).raises(ValueError, "dim must be 0 or -1 for a scalar"),
    Layer("Softmax2d", inputs=[(3, 5)]).raises(
        ValueError, "input must have shape (C, H, W) or (N, C, H, W)"
    ),
    Layer("PReLU", (3,), inputs=[(3, 5)]).raises(
        ValueError, "weight has 3 slopes, but input of shape (3, 5) has 5"
    ),
    Layer("PReLU", (2,), inputs=[()]).raises(
        ValueError, "weight has 2 slopes, but input of shape () has 1 channels"
    ),
]
