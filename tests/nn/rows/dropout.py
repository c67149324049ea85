"""Rows of the dropout layers: in evaluation the identity; test_dropout.py has the training."""

from tests.parity import Layer

SHAPES = {"1d": [(2, 3, 4), (3, 4)], "2d": [(2, 3, 4, 5)], "3d": [(2, 3, 2, 2, 2), (3, 2, 2, 2)]}
NAMES = ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]

ROWS = [
    *(
        Layer(name, inputs=[shape], train=False)
        for name in NAMES
        for shape in SHAPES.get(name[-2:], [(3, 4)])
    ),
    *(
        Layer(name, (p,), inputs=[SHAPES.get(name[-2:], [(3, 4)])[0]])
        for name in NAMES
        for p in (0.0, 1.0)
    ),
]

RAISES = [
    Layer(name, (p,), inputs=[(2, 3, 4)]).raises(ValueError, "p is a probability")
    for name in NAMES
    for p in (-0.1, 1.1)
]
