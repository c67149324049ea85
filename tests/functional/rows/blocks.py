"""Rows of the functions behind activations, normalization and attention."""

import numpy as np

from tests.parity import Function, bools, uniform, values

CAUSAL = values(np.tril(np.ones((5, 5), bool)))
HOLES = values(
    np.array([[True] * 5, [False] * 5, [True, False, True, False, True]] + [[True] * 5] * 2)
)
FLOATS = values(np.triu(np.full((5, 5), -np.inf), 1))
Q = (2, 4, 5, 6)
ONCE = {"vmap": False, "dtypes": False}


def _attention(inputs=(Q, Q, (2, 4, 5, 3)), call=None, **settings):
    call = {} if call is None else call
    return Function("scaled_dot_product_attention", inputs=inputs, call=call, **settings)


ATTENTION = [
    _attention(),
    _attention(call={"is_causal": True}),
    _attention(((2, 4, 3, 6), (2, 4, 7, 6), (2, 4, 7, 6)), {"is_causal": True}),
    _attention(call={"attn_mask": CAUSAL}),
    _attention(call={"attn_mask": HOLES}, note=" a row of nothing"),
    _attention(call={"attn_mask": (5, 5), "scale": 0.3}),
    _attention(call={"attn_mask": FLOATS}, note=" -inf"),
    _attention(call={"attn_mask": bools((2, 4, 5, 5), 0.7)}),
    _attention(((5, 6), (7, 6), (7, 6))),
    _attention(((3, 5, 6), (3, 7, 6), (3, 7, 6)), {"scale": -1.5}),
    _attention(((2, 2, 2, 5, 6),) * 3),
    _attention((Q, (2, 2, 7, 6), (2, 2, 7, 6)), {"enable_gqa": True}),
    _attention(
        (Q, (2, 1, 7, 6), (2, 1, 7, 6)), {"enable_gqa": True, "attn_mask": bools((4, 5, 7), 0.7)}
    ),
    _attention((Q, Q, Q), {"enable_gqa": True, "is_causal": True}),
    _attention(((1, 4, 5, 6), Q, Q)),
    _attention(((0, 4, 5, 6),) * 3),
]

LENGTHS = [
    Function("normalize", kwargs=setting, inputs=[(3, 4, 2)], **once)
    for setting, once in [
        ({}, {}),
        ({"p": 1.0}, ONCE),
        ({"p": 3.0, "dim": -1}, ONCE),
        ({"p": 0.5, "dim": 0}, ONCE),
        ({"p": float("inf")}, ONCE),
        ({"p": -float("inf"), "dim": 2}, ONCE),
        ({"p": 0.0}, ONCE),
        ({"dim": (0, 2), "eps": 10.0}, ONCE),
    ]
] + [
    Function("normalize", kwargs={"p": p}, inputs=[values([[0.0, 0.0], [0.0, 2.0]])], note=" zeros")
    for p in (1.0, 1.5, 2.0, 3.0)
]

C = uniform((3,), 0.5, 1.5)


def _constant_statistics(function):
    """PyTorch refuses to differentiate by running statistics; here their gradient is zero."""
    return lambda x, mean, var, *rest, **call: function(
        x, mean.detach(), var.detach(), *rest, **call
    )


def _running(name, inputs, **settings):
    # the statistics are inputs here, so finite differences see the slope that the definition leaves out
    return Function(name, inputs=inputs, theirs=_constant_statistics, differences=False, **settings)


NORMS = [
    _running("batch_norm", [(4, 3), (3,), C, (3,), (3,)], call={"eps": 1e-3}),
    _running("batch_norm", [(2, 3, 2, 2), (3,), C, None, (3,)], **ONCE),
    Function(
        "batch_norm", inputs=[(4, 3, 2), None, None, (3,), (3,), True], differences=True, **ONCE
    ),
    Function("instance_norm", inputs=[(2, 3, 4), None, None, (3,), (3,)], differences=True),
    _running("instance_norm", [(2, 3, 4), (3,), C, None, None, False], **ONCE),
    Function("layer_norm", ((2, 4),), inputs=[(3, 2, 4)]),
    Function("rms_norm", ((4,),), inputs=[(3, 2, 4)]),
    Function("group_norm", (3,), inputs=[(2, 6, 4)]),
    Function("local_response_norm", (3,), inputs=[(2, 5, 3)]),
]

OTHERS = [
    Function("prelu", inputs=[(2, 3, 4), (3,)]),
    Function("prelu", inputs=[(2, 3, 4), ()], **ONCE),
    Function("threshold", (0.1, 20.0), inputs=[(3, 4)], **ONCE),
    Function("softmax", kwargs={"dim": 1}, inputs=[(3, 4)], **ONCE),
    Function("dropout", (0.5, False), inputs=[(3, 4)], **ONCE),
]

MULTI_HEAD = {"static_k": (4, 7, 4), "static_v": (4, 7, 4)}
PARAMETERS = [8, 2, (24, 8), (24,), None, None, True, 0.0, (8, 8), (8,)]
ROWS = [
    *ATTENTION,
    *LENGTHS,
    *NORMS,
    *OTHERS,
    Function(
        "multi_head_attention_forward",
        inputs=[(5, 2, 8), (6, 2, 8), (6, 2, 8), *PARAMETERS],
        call=MULTI_HEAD,
        **ONCE,
    ),
]

RAISES = [
    _attention((Q, Q, (2, 4, 5, 3)), {"attn_mask": CAUSAL, "is_causal": True}).raises(
        ValueError, "give either attn_mask or is_causal=True, not both"
    ),
    _attention((Q, (2, 2, 5, 6), (2, 2, 5, 6))).raises(
        ValueError, "query has 4 heads, key and value have 2"
    ),
    _attention((Q, (2, 3, 5, 6), (2, 3, 5, 6)), {"enable_gqa": True}).raises(
        ValueError, "the number of query heads must be divisible by that of key"
    ),
    _attention((Q, (2, 4, 5, 7), (2, 4, 5, 7))).raises(
        ValueError, "query and key must have as many features"
    ),
    _attention((Q, (3, 4, 5, 6), (3, 4, 5, 6))).raises(
        ValueError, "the leading axes of query and key must broadcast"
    ),
    _attention(((6,), (6,), (6,))).raises(
        ValueError, "query, key and value must have shape (..., length, features)"
    ),
    _attention((Q, Q, Q), {"attn_mask": values(np.ones((5, 5), np.int64))}).raises(
        TypeError, "attn_mask must be boolean or floating"
    ),
    _attention((Q, Q, Q), {"attn_mask": bools((5, 4))}).raises(
        ValueError, "attn_mask of shape (5, 4) does not broadcast to the scores"
    ),
    _attention((Q, Q, Q), {"dropout_p": 1.5}).raises(
        ValueError, "dropout_p is a probability and must lie in [0, 1]"
    ),
    Function("batch_norm", inputs=[(1, 3), None, None, None, None, True]).raises(
        ValueError, "in training each channel needs more than one value to take"
    ),
    Function("batch_norm", inputs=[(4, 3), None, None]).raises(
        ValueError, "running_mean and running_var are needed unless training=True"
    ),
    Function("instance_norm", inputs=[(2, 3, 1)]).raises(
        ValueError, "each channel has one value only, whose variance is zero"
    ),
    Function("instance_norm", inputs=[(2, 3, 4), None, None, None, None, False]).raises(
        ValueError, "running_mean and running_var are needed unless"
    ),
    Function("group_norm", (4,), inputs=[(2, 6, 4)]).raises(
        ValueError, "the number of channels must be divisible by num_groups"
    ),
    Function("rrelu", (0.5, 0.1), inputs=[(3,)]).raises(ValueError, "lower must not exceed upper"),
    Function("hardtanh", (0.5, 0.1), inputs=[(3,)]).raises(
        ValueError, "min_val must not exceed max_val"
    ),
    Function("dropout", (1.5,), inputs=[(3,)]).raises(
        ValueError, "p is a probability and must lie in [0, 1]"
    ),
    Function("dropout1d", (0.5,), inputs=[(3,)]).raises(
        ValueError, "input must have shape (C, L) or (N, C, L)"
    ),
    Function("alpha_dropout", (-0.5,), inputs=[(3,)]).raises(
        ValueError, "p is a probability and must lie in [0, 1]"
    ),
]
