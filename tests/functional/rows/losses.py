"""Rows for functions of losses, distances and tables whose layers do not reach all of them."""

import numpy as np

from tests.parity import Function, ints, uniform, values

PAIR = [(3, 4), (3, 4)]
WEIGHT = uniform((3, 4), 0.1, 2.0)
INFINITY = float("inf")

ROWS = [
    *[
        Function(name, kwargs={"reduction": reduction}, inputs=PAIR, call={"weight": WEIGHT})
        for name in ("mse_loss", "l1_loss", "huber_loss")
        for reduction in ("mean", "none")
    ],
    Function("linear", inputs=[(5, 3), (4, 3), (4,)]),
    Function("linear", inputs=[(2, 5, 3), (3,), ()]),
    Function("bilinear", inputs=[(5, 2), (5, 3), (4, 2, 3)]),
    *[
        Function("pdist", (p,), inputs=[values([[0.0, 1, 2], [0, 1, 2], [0, -1, 0.5], [3, 0, 1]])])
        for p in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, INFINITY)
    ],
    Function("pdist", inputs=[(1, 3)]),
    *[
        Function("pairwise_distance", (p,), inputs=PAIR)
        for p in (0.0, 0.5, 1.5, -1.0, INFINITY, -INFINITY)
    ],
    # zero to a negative power is infinite, and the norm of it zero; PyTorch's gradient there is NaN
    Function(
        "pairwise_distance",
        (-2.0, 0.0),
        inputs=[values([[1.0, 2.0]]), values([[1.0, 5.0]])],
        gradients=False,
    ),
    # rows that are equal, and zero vectors, where norms have no derivative for differences to find
    Function("pairwise_distance", (2.0, 0.0), inputs=[values(np.ones((2, 3)))] * 2),
    Function(
        "cosine_similarity",
        inputs=[values(np.eye(3) - np.diag([1.0, 0, 0])), (3, 3)],
        differences=False,
    ),
    Function("one_hot", (5,), inputs=[ints((2, 3), 5)], gradients=False),
    # by definition neither the padding's row nor the scaled gradient is the derivative
    Function(
        "embedding", (2, None, 2.0, True), inputs=[ints((2, 9), 5), (5, 3)], differences=False
    ),
    # errors of exactly zero, and answers that are certain
    Function("l1_loss", inputs=[values(np.zeros(3)), values(np.array([0.0, 1, -1]))]),
    Function(
        "binary_cross_entropy_with_logits",
        inputs=[values(np.array([0.0, 0, 900, -900])), values(np.array([0.0, 1, 0, 1]))],
        dtypes=False,
    ),
    Function(
        "margin_ranking_loss",
        (0.0,),
        inputs=[values(np.ones(2)), values(np.ones(2)), values([1, -1])],
        differences=False,  # a tie lies on the hinge
    ),
]
