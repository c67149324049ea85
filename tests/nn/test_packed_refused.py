"""Segment ids and masks of tokens that do not fit are refused with the reason."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn

X = jnp.ones((2, 5, 4))
IDS = np.array([[1, 1, 2, 2, 0]] * 2)
TWICE = np.array([[1, 1, 2, 1, 0]] * 2)
CACHE = nn.KeyValueCache.empty((2, 2), 8, 2)

REFUSED = {
    "a number in two places of a row": (nn.GRU(4, 3, batch_first=True), (X,), {"segment_ids": TWICE}, "one run"),
    "a shape": (nn.GRU(4, 3, batch_first=True), (X,), {"segment_ids": IDS.T}, r"\(2, 5\)"),
    "floats": (nn.GRU(4, 3, batch_first=True), (X,), {"segment_ids": IDS * 1.0}, "integers"),
    "lengths too": (nn.GRU(4, 3), (X,), {"segment_ids": IDS, "lengths": [2, 5]}, "not both"),
    "keys of another length": (
        nn.MultiheadAttention(4, 2), (X, X[:1], X[:1]), {"segment_ids": IDS.T[:, :2]}, "key_segment_ids",
    ),
    "keys alone": (nn.MultiheadAttention(4, 2), (X, X * 2, X), {"key_segment_ids": IDS.T}, "those of the queries"),
    "attention's shape": (nn.MultiheadAttention(4, 2), (X, X, X), {"segment_ids": IDS}, r"\(5, 2\)"),
    "a cache": (nn.GroupedQueryAttention(4, 2), (X,), {"segment_ids": IDS, "cache": CACHE}, "one sequence a row"),
    "grouped queries' shape": (nn.GroupedQueryAttention(4, 2), (X,), {"segment_ids": IDS.T}, r"\(2, 5\)"),
    "a source alone": (nn.Transformer(4, 2, 1, 1, 8), (X, X), {"src_segment_ids": IDS}, "both"),
    "running statistics": (
        nn.InstanceNorm1d(5, track_running_stats=True), (X,), {"segment_ids": IDS[:, :4]}, "track_running_stats=False",
    ),
    "an image": (nn.GroupNorm(1, 2), (jnp.ones((1, 2, 3, 3)),), {"segment_ids": IDS}, r"\(N, C, L\)"),
    "a mask of tokens": (nn.BatchNorm1d(5), (X,), {"where": np.ones(2, bool)}, r"\(2, 4\)"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    layer, inputs, options, words = REFUSED[name]
    net = fn.functionalize(layer)
    params, state = jax.eval_shape(net.init, jax.random.key(0))
    with pytest.raises((ValueError, TypeError), match=words):
        jax.eval_shape(
            lambda p, s, *x: net.apply(p, s, *x, **options, train=True, key=jax.random.key(0)),
            params,
            state,
            *inputs,
        )
