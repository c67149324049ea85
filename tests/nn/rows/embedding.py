"""Rows for tables of vectors."""

import numpy as np

from tests.parity import Layer, ints, values

OFFSETS = values(np.array([0, 3, 3, 7]))

ROWS = [
    Layer("Embedding", (10, 3), inputs=[ints((2, 5), 10)]),
    Layer("Embedding", (10, 3), inputs=[ints((), 10)], train=False),
    Layer("Embedding", (10, 3), inputs=[ints((0,), 10)], train=False),
    Layer("Embedding", (5, 3, 1), inputs=[ints((2, 9), 5)], train=False),
    Layer("Embedding", (5, 3), {"padding_idx": -1}, inputs=[ints((9,), 5)], train=False),
    Layer("Embedding", (5, 3), {"scale_grad_by_freq": True}, inputs=[ints((9,), 5)], train=False),
    Layer(
        "Embedding",
        (5, 3, 0),
        {"scale_grad_by_freq": True},
        inputs=[ints((3, 4), 5)],
        train=False,
    ),
    Layer("Embedding", (7, 2), {"padding_idx": 3}, inputs=[ints((2, 2, 2), 7)], train=False),
    Layer("EmbeddingBag", (10, 3), inputs=[ints((2, 5), 10)]),
    Layer("EmbeddingBag", (10, 3), {"mode": "sum"}, inputs=[ints((2, 5), 10)], train=False),
    Layer("EmbeddingBag", (10, 3), {"mode": "max"}, inputs=[ints((2, 5), 10)], train=False),
    Layer("EmbeddingBag", (10, 3), inputs=[ints((8,), 10), OFFSETS], train=False),
    Layer("EmbeddingBag", (10, 3), {"mode": "sum"}, inputs=[ints((8,), 10), OFFSETS], train=False),
    Layer("EmbeddingBag", (10, 3), {"mode": "max"}, inputs=[ints((8,), 10), OFFSETS], train=False),
    Layer(
        "EmbeddingBag",
        (4, 3),
        {"mode": "sum", "padding_idx": 1},
        inputs=[ints((8,), 4), OFFSETS, (8,)],
        train=False,
    ),
    Layer(
        "EmbeddingBag",
        (4, 3),
        {"mode": "sum"},
        inputs=[ints((2, 4), 4)],
        call={"per_sample_weights": (2, 4)},
        train=False,
    ),
    Layer(
        "EmbeddingBag",
        (4, 3),
        {"mode": "mean", "padding_idx": 1},
        inputs=[ints((3, 6), 4)],
        train=False,
    ),
    Layer(
        "EmbeddingBag",
        (4, 3),
        {"mode": "max", "padding_idx": -1},
        inputs=[ints((8,), 4), OFFSETS],
        train=False,
    ),
    Layer(
        "EmbeddingBag",
        (4, 3),
        {"include_last_offset": True},
        inputs=[ints((7,), 4), OFFSETS],
        train=False,
    ),
    Layer("EmbeddingBag", (4, 3), inputs=[ints((0, 6), 4)], train=False),
]

RAISES = [
    Layer("Embedding", (5, 3, 5), inputs=[ints((2,), 5)]).raises(
        ValueError, "padding_idx must lie in [-5, 4] for 5 rows"
    ),
    Layer("Embedding", (5, 3, -6), inputs=[ints((2,), 5)]).raises(
        ValueError, "padding_idx must lie in [-5, 4] for 5 rows"
    ),
    Layer("Embedding", (5, 3), inputs=[(2,)]).raises(TypeError, "input must hold integers"),
    Layer("Embedding", (5, 3), inputs=[values([0, 5])]).raises(
        IndexError, "input must lie in [0, 4]"
    ),
    Layer("EmbeddingBag", (5, 3), inputs=[values([[0, -1]])]).raises(
        IndexError, "input must lie in [0, 4]"
    ),
    Layer("EmbeddingBag", (5, 3), {"padding_idx": 5}, inputs=[ints((2, 2), 5)]).raises(
        ValueError, "padding_idx must lie in [-5, 4] for 5 rows"
    ),
    Layer("EmbeddingBag", (5, 3), {"mode": "min"}, inputs=[ints((2, 2), 5)]).raises(
        ValueError, "mode must be one of 'sum', 'mean', 'max'"
    ),
    Layer("EmbeddingBag", (5, 3), inputs=[ints((2,), 5)]).raises(
        ValueError, "an input of one axis needs offsets of one axis"
    ),
    Layer("EmbeddingBag", (5, 3), inputs=[ints((2, 2), 5), ints((2,), 1)]).raises(
        ValueError, "offsets need an input of one axis"
    ),
    Layer("EmbeddingBag", (5, 3), inputs=[ints((2, 2, 2), 5)]).raises(
        ValueError, "input must have one or two axes"
    ),
    Layer(
        "EmbeddingBag",
        (5, 3),
        {"mode": "max", "scale_grad_by_freq": True},
        inputs=[ints((2, 2), 5)],
    ).raises(ValueError, "mode 'max' does not go with scale_grad_by_freq or sparse"),
    Layer(
        "EmbeddingBag", (5, 3), inputs=[ints((2, 2), 5)], call={"per_sample_weights": (2, 2)}
    ).raises(NotImplementedError, "per_sample_weights need mode='sum'"),
    Layer(
        "EmbeddingBag",
        (5, 3),
        {"mode": "sum"},
        inputs=[ints((2, 2), 5)],
        call={"per_sample_weights": (4,)},
    ).raises(ValueError, "per_sample_weights must have the input's shape (2, 2)"),
]
