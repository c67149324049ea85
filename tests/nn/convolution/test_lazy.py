"""Lazy convolutions: completed by an example, they are the layers that were told their channels."""

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet import nn

SHAPES = {1: (2, 4, 6), 2: (2, 4, 6, 5), 3: (1, 4, 3, 4, 5)}
SETTINGS = [
    ((6, 2), {}),
    ((6, 3), {"stride": 2, "padding": 1}),
    ((6, 2), {"groups": 2, "dilation": 2}),
    ((6, 2), {"bias": False}),
    ((6, 2), {"channels_last": True}),
    ((6, 2), {"dtype": jnp.bfloat16}),
]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(("args", "kwargs"), SETTINGS, ids=str)
def test_lazy_is_the_layer_that_was_told(axes, transposed, args, kwargs):
    name = f"Conv{'Transpose' * transposed}{axes}d"
    x = jax.ShapeDtypeStruct(SHAPES[axes], kwargs.get("dtype", jnp.float32))
    channels = x.shape[-1] if kwargs.get("channels_last") else x.shape[1]
    lazy = fn.functionalize(getattr(nn, f"Lazy{name}")(*args, **kwargs))
    told = fn.functionalize(getattr(nn, name)(channels, *args, **kwargs))
    key = jax.random.key(0)
    assert jax.eval_shape(lazy.init, key, x) == jax.eval_shape(told.init, key)
    params, state = jax.eval_shape(lazy.init, key, x)
    assert jax.eval_shape(lazy.apply, params, state, x) == jax.eval_shape(
        told.apply, params, state, x
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_without_a_batch_axis(axes):
    net = fn.functionalize(getattr(nn, f"LazyConv{axes}d")(6, 2))
    params, _ = net.init(jax.random.key(0), jnp.ones(SHAPES[axes][1:]))
    assert params["weight"].shape[:2] == (6, 4)


def test_an_example_that_does_not_fit_raises():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="groups"):
        fn.functionalize(nn.LazyConv2d(6, 2, groups=3)).init(key, jnp.ones((1, 4, 5, 5)))
    with pytest.raises(ValueError, match="2 spatial axes"):
        fn.functionalize(nn.LazyConv2d(6, 2)).init(key, jnp.ones((5, 5)))
    with pytest.raises(ValueError, match="out_channels"):
        nn.LazyConvTranspose1d(5, 2, groups=2)
