"""Rows for linear layers, layers that reshape, and containers."""

from collections import OrderedDict

import numpy as np

from tests.parity import Layer


def _array(nn, values):
    """An array for either side."""
    if nn.__name__.startswith("torch"):
        import torch

        return torch.tensor(values, dtype=torch.float64)
    return np.asarray(values)


ROWS = [
    Layer("Linear", (3, 4), inputs=[(5, 3)]),
    Layer("Linear", (3, 4), {"bias": False}, inputs=[(5, 3)], train=False),
    Layer("Linear", (3, 4), inputs=[(3,)], train=False),
    Layer("Linear", (3, 1), inputs=[(2, 5, 3)], train=False),
    Layer("Linear", (3, 4), inputs=[(0, 3)], train=False),
    Layer("Linear", (1, 4), {"bias": True}, inputs=[(2, 2, 2, 1)], train=False),
    Layer("Bilinear", (2, 3, 4), inputs=[(5, 2), (5, 3)]),
    Layer("Bilinear", (2, 3, 4), {"bias": False}, inputs=[(5, 2), (5, 3)], train=False),
    Layer("Bilinear", (2, 3, 4), inputs=[(2,), (3,)], train=False),
    Layer("Bilinear", (2, 3, 1), inputs=[(2, 5, 2), (2, 5, 3)], train=False),
    Layer("Bilinear", (1, 1, 4), inputs=[(5, 1), (5, 1)], train=False),
    Layer("Bilinear", (2, 3, 4), inputs=[(0, 2), (0, 3)], train=False),
    Layer("Identity", (54,), {"unused": 1}, inputs=[(2, 3)], train=False),
    Layer("Identity", inputs=[()], train=False),
    Layer("Flatten", inputs=[(2, 3, 4)], train=False),
    Layer("Flatten", inputs=[(2, 3)], train=False),
    Layer("Flatten", (0,), inputs=[()], train=False),
    Layer("Flatten", (0, -2), inputs=[(2, 3, 4)], train=False),
    Layer("Flatten", (2, 2), inputs=[(2, 3, 4)], train=False),
    Layer("Flatten", (-2,), inputs=[(0, 3, 4)], train=False),
    Layer("Unflatten", (1, (2, 3)), inputs=[(4, 6)], train=False),
    Layer("Unflatten", (-1, (2, -1)), inputs=[(4, 6)], train=False),
    Layer("Unflatten", (0, (2, 2)), inputs=[(4, 6)], train=False),
    Layer("Unflatten", (0, (-1,)), inputs=[(6,)], train=False),
    Layer("Unflatten", (1, (3, 1, 2)), inputs=[(2, 6, 2)], train=False),
    Layer("Unflatten", (0, [2, 0]), inputs=[(0, 3)], train=False),
    Layer(
        "Sequential",
        build=lambda nn: nn.Sequential(nn.Linear(3, 4), nn.Flatten(), nn.Linear(4, 2, bias=False)),
        inputs=[(5, 3)],
    ),
    Layer(
        "Sequential",
        build=lambda nn: nn.Sequential(OrderedDict(a=nn.Linear(3, 4), b=nn.Linear(4, 2))),
        inputs=[(5, 3)],
        train=False,
        note="-named",
    ),
    Layer(
        "Sequential",
        build=lambda nn: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Identity())[1:],
        inputs=[(5, 4)],
        train=False,
        note="-sliced",
    ),
    Layer(
        "Sequential",
        build=lambda nn: nn.Sequential(nn.Linear(3, 3)) * 2 + nn.Sequential(nn.Linear(3, 1)),
        inputs=[(5, 3)],
        train=False,
        note="-repeated",
    ),
    Layer(
        "Sequential", build=lambda nn: nn.Sequential(), inputs=[(5, 3)], train=False, note="-none"
    ),
    Layer(
        "ModuleList",
        build=lambda nn: nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 2)]),
        inputs=[(5, 3)],
        ours=lambda layers: lambda x: layers[-1](layers[0](x)),
        theirs=lambda layers: lambda x: layers[-1](layers[0](x)),
        vmap=False,
        train=False,
    ),
    Layer(
        "ModuleDict",
        build=lambda nn: nn.ModuleDict({"one": nn.Linear(3, 3), "two": nn.Linear(3, 2)}),
        inputs=[(5, 3)],
        ours=lambda layers: lambda x: [layer(x) for layer in layers.values()],
        theirs=lambda layers: lambda x: [layer(x) for layer in layers.values()],
        train=False,
    ),
    Layer(
        "ParameterList",
        build=lambda nn: nn.ParameterList([_array(nn, [1.0, 2.0]), _array(nn, [3.0, 4.0])]),
        inputs=[(5, 2)],
        ours=lambda scales: lambda x: x * scales[0] + scales[-1],
        theirs=lambda scales: lambda x: x * scales[0] + scales[-1],
        train=False,
    ),
    Layer(
        "ParameterDict",
        build=lambda nn: nn.ParameterDict({"scale": _array(nn, [1.0, 2.0]), "on": _array(nn, 3.0)}),
        inputs=[(5, 2)],
        ours=lambda held: lambda x: x * held["scale"] + held["on"],
        theirs=lambda held: lambda x: x * held["scale"] + held["on"],
        train=False,
    ),
]

RAISES = [
    Layer("Linear", (3, 4), inputs=[(5, 2)]).raises(
        ValueError, "the last axis of input must have the 3 features of the"
    ),
    Layer("Linear", (-1, 4), inputs=[(5, 2)]).raises(
        ValueError, "the sizes of a shape must not be negative"
    ),
    Layer("Bilinear", (0, 3, 4), inputs=[(5, 0), (5, 3)]).raises(
        ValueError, "in1_features must be greater than zero"
    ),
    Layer("Bilinear", (2, 3, 4), inputs=[(5, 2), (4, 3)]).raises(
        ValueError, "input1 and input2 must agree in all but the last axis"
    ),
    Layer("Bilinear", (2, 3, 4), inputs=[(5, 3), (5, 2)]).raises(
        ValueError, "the last axes of the inputs must be (2, 3) for a weight of"
    ),
    Layer("Flatten", (2, 1), inputs=[(2, 3, 4)]).raises(
        ValueError, "start_dim must not come after end_dim"
    ),
    Layer("Flatten", (3,), inputs=[(2, 3, 4)]).raises(ValueError, "start_dim must lie in [-3, 2]"),
    Layer("Unflatten", (1, (2, 4)), inputs=[(4, 6)]).raises(
        ValueError, "unflattened_size (2, 4) does not fit the length 6 of axis 1"
    ),
    Layer("Unflatten", (1, (-1, -1)), inputs=[(4, 6)]).raises(
        ValueError, "unflattened_size (-1, -1) does not fit the length 6 of axis"
    ),
    Layer("Unflatten", (1, 2), inputs=[(4, 6)]).raises(
        TypeError, "unflattened_size must be a tuple of integers"
    ),
    Layer("Unflatten", (1, (2.0, 3)), inputs=[(4, 6)]).raises(
        TypeError, "unflattened_size must hold integers"
    ),
    Layer("Sequential", (3,), inputs=[(4, 6)]).raises(TypeError, "Sequential holds modules"),
]
