"""Lazy layers draw from the range that their fan-in gives, weight and bias alike, as the eager ones do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn


@pytest.mark.parametrize(
    ("lazy", "eager", "example"),
    [
        (nn.LazyLinear(300), nn.Linear(16, 300), (2, 16)),
        (nn.LazyConv1d(300, 3), nn.Conv1d(4, 300, 3), (1, 4, 8)),
        (nn.LazyConv2d(300, 3, groups=2), nn.Conv2d(4, 300, 3, groups=2), (1, 4, 8, 8)),
        (nn.LazyConvTranspose1d(300, 3), nn.ConvTranspose1d(4, 300, 3), (1, 4, 8)),
        (nn.LazyLinear(300, bias=False), nn.Linear(16, 300, bias=False), (2, 16)),
    ],
)
def test_the_same_values_as_the_eager_layer(lazy, eager, example):
    ours, _ = fn.functionalize(lazy).init(jax.random.key(0), jnp.zeros(example))
    theirs, _ = fn.functionalize(eager).init(jax.random.key(0))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
