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
    Layer("Embedding", (5, 3, 5), inputs=[ints((2,), 5)]),
    Layer("Embedding", (5, 3, -6), inputs=[ints((2,), 5)]),
    Layer("Embedding", (5, 3), inputs=[(2,)]),
    Layer("Embedding", (5, 3), inputs=[values([0, 5])]),
    Layer("EmbeddingBag", (5, 3), inputs=[values([[0, -1]])]),
    Layer("EmbeddingBag", (5, 3), {"padding_idx": 5}, inputs=[ints((2, 2), 5)]),
    Layer("EmbeddingBag", (5, 3), {"mode": "min"}, inputs=[ints((2, 2), 5)]),
    Layer("EmbeddingBag", (5, 3), inputs=[ints((2,), 5)]),
    Layer("EmbeddingBag", (5, 3), inputs=[ints((2, 2), 5), ints((2,), 1)]),
    Layer("EmbeddingBag", (5, 3), inputs=[ints((2, 2, 2), 5)]),
    Layer(
        "EmbeddingBag",
        (5, 3),
        {"mode": "max", "scale_grad_by_freq": True},
        inputs=[ints((2, 2), 5)],
    ),
    Layer("EmbeddingBag", (5, 3), inputs=[ints((2, 2), 5)], call={"per_sample_weights": (2, 2)}),
    Layer(
        "EmbeddingBag",
        (5, 3),
        {"mode": "sum"},
        inputs=[ints((2, 2), 5)],
        call={"per_sample_weights": (4,)},
    ),
]
