"""Rows of multi-head attention."""

import numpy as np

from tests.parity import Layer, bools, values

X, M = (5, 2, 8), (6, 2, 8)
CAUSAL = values(np.triu(np.ones((5, 5), bool), 1))
FLOATS = values(np.triu(np.full((5, 5), -np.inf), 1))
PADDING = values(np.array([[False, False, True, False, True], [False, True, False, False, False]]))


def _self(layer):
    """Self-attention: one array for queries, keys and values, which both sides recognize."""
    return lambda x, **call: layer(x, x, x, **call)


def _memory(layer):
    """Attention over a memory: one array for keys and values."""
    return lambda x, memory, **call: layer(x, memory, memory, **call)


def _row(kwargs, inputs, sides=None, call=None, **settings):
    name = "MultiheadAttention"
    call = {} if call is None else call
    how = {"train": False} | settings
    return Layer(name, (8, 2), kwargs, inputs=inputs, call=call, ours=sides, theirs=sides, **how)


def _masked(call, kwargs=None, note="", gradients=False):
    return _row(kwargs or {}, [X], _self, call, note=note, gradients=gradients)


ROWS = [
    _row({}, [X, M, M], train=True),
    _row({}, [X], _self),
    _row({}, [X, M], _memory),
    _row({}, [(5, 8), (6, 8), (6, 8)]),
    _row({"batch_first": True}, [(2, 5, 8), (2, 6, 8), (2, 6, 8)], call={"need_weights": False}),
    _row({"batch_first": True}, [(5, 8)], _self),
    _row({"bias": False}, [X, M], _memory, {"average_attn_weights": False}),
    _row({"kdim": 3, "vdim": 4}, [X, (6, 2, 3), (6, 2, 4)]),
    _row({"kdim": 3, "bias": False}, [X, (6, 2, 3), (6, 2, 8)], call={"need_weights": False}),
    _row({"add_bias_kv": True}, [X], _self),
    _row({"add_zero_attn": True}, [X], _self, {"need_weights": False}),
    _row({"add_bias_kv": True, "add_zero_attn": True, "kdim": 5}, [X, (6, 2, 5), M]),
    _row({}, [(5, 0, 8)], _self),
    _masked({"attn_mask": CAUSAL}, note=" causal"),
    _masked(
        {"attn_mask": CAUSAL, "need_weights": False, "is_causal": True},
        note=" hint",
        gradients=True,
    ),
    _masked({"attn_mask": CAUSAL, "is_causal": True}, note=" hint, weights"),
    _masked({"attn_mask": FLOATS, "need_weights": False}, note=" floats"),
    _masked({"attn_mask": bools((4, 5, 5), 0.3)}, note=" each head"),
    _masked({"key_padding_mask": PADDING}, note=" padding"),
    _masked({"key_padding_mask": PADDING, "need_weights": False}, note=" padding"),
    _masked(
        {"key_padding_mask": (2, 5), "attn_mask": (5, 5)}, note=" two of floats", gradients=True
    ),
    _masked(
        {"key_padding_mask": PADDING, "attn_mask": CAUSAL, "need_weights": False}, note=" both"
    ),
    _masked(
        {"key_padding_mask": PADDING, "attn_mask": CAUSAL},
        {"add_bias_kv": True, "add_zero_attn": True},
        note=" both, lengthened",
        gradients=True,
    ),
    _masked(
        {"attn_mask": values(np.ones((5, 5), bool)), "need_weights": False},
        note=" nothing to attend to",
        gradients=True,
    ),
    _row({}, [(5, 8)], _self, {"key_padding_mask": values([False, True, False, False, False])}),
    _row({}, [(5, 8)], _self, {"attn_mask": bools((2, 5, 5), 0.3), "need_weights": False}),
]


def _refused(inputs, kwargs=None, call=None):
    return _row(kwargs or {}, inputs, call=call)


RAISES = [
    Layer("MultiheadAttention", (8, 3), inputs=[X, M, M]).raises(
        ValueError, "embed_dim must be divisible by num_heads"
    ),
    Layer("MultiheadAttention", (0, 1), inputs=[X, M, M]).raises(
        ValueError, "embed_dim must be greater than zero"
    ),
    Layer("MultiheadAttention", (8, 0), inputs=[X, M, M]).raises(
        ValueError, "num_heads must be greater than zero"
    ),
    _refused([X, M, (7, 2, 8)]).raises(
        ValueError, "key and value must agree except in their features"
    ),
    _refused([X, (6, 8), (6, 8)]).raises(
        ValueError, "query, key and value must have equally many axes"
    ),
    _refused([X, (6, 3, 8), (6, 3, 8)]).raises(
        ValueError, "query and key must have as many examples"
    ),
    _refused([(5, 2, 7), M, M]).raises(ValueError, "query must have 8 features"),
    _refused([(2, 5, 2, 8), M, M]).raises(ValueError, "query must have shape (L, N, E) or (L, E)"),
    _refused([X, M, M], call={"attn_mask": bools((5, 5))}).raises(
        ValueError, "attn_mask must have shape (5, 6) or (4, 5, 6)"
    ),
    _refused([X, M, M], call={"attn_mask": bools((3, 5, 6))}).raises(
        ValueError, "attn_mask must have shape (5, 6) or (4, 5, 6)"
    ),
    _refused([X, M, M], call={"key_padding_mask": bools((2, 5))}).raises(
        ValueError, "key_padding_mask must have shape (2, 6)"
    ),
    _refused([X, M, M], call={"key_padding_mask": bools((6,))}).raises(
        ValueError, "key_padding_mask must have shape (2, 6)"
    ),
    _refused([X, M, M], call={"is_causal": True}).raises(
        ValueError, "is_causal=True is a hint about attn_mask"
    ),
]
