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
    Layer("Hardtanh", (1.0, -1.0), inputs=[(3,)]),
    Layer("Threshold", (1.0,), inputs=[(3,)]),
    Layer("Softshrink", (-1.0,), inputs=[(3,)]),
    Layer("CELU", (0.0,), inputs=[(3,)]),
    Layer("GELU", ("erf",), inputs=[(3,)]),
    Layer("RReLU", (0.5, 0.1), inputs=[(3,)]),
    Layer("GLU", inputs=[(3, 5)]),
    Layer("GLU", inputs=[()]),
    Layer("Softmax", (2,), inputs=[(3, 5)]),
    Layer("LogSoftmax", (-3,), inputs=[(3, 5)]),
    Layer("Softmin", (1,), inputs=[()]),
    Layer("Softmax2d", inputs=[(3, 5)]),
    Layer("PReLU", (3,), inputs=[(3, 5)]),
    Layer("PReLU", (2,), inputs=[()]),
]
