"""Recurrent layers beyond PyTorch's rows: dropout, lengths, both directions of differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.core.errors import MissingKeyError


def _net(layer):
    net = fn.functionalize(layer)
    return net, *net.init(jax.random.key(0))


def test_dropout_between_layers_needs_a_key_in_training():
    net, params, state = _net(nn.GRU(3, 64, num_layers=2, dropout=0.5))
    x = np.ones((2, 4, 3), np.float32)
    with pytest.raises(MissingKeyError):
        jax.eval_shape(lambda: net.apply(params, state, x, train=True))
    run = jax.jit(
        lambda key, train: net.apply(params, state, x, key=key, train=train)[0][0], static_argnums=1
    )
    first, again, other = (np.asarray(run(jax.random.key(seed), True)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert 0.02 < np.abs(first - np.asarray(run(jax.random.key(1), False))).mean() < 0.5


def test_one_layer_draws_no_key():
    net, params, state = _net(nn.GRU(3, 4, dropout=0.5))
    jax.eval_shape(lambda: net.apply(params, state, jnp.ones((2, 1, 3)), train=True))


def test_what_lies_beyond_a_length_changes_nothing():
    net, params, state = _net(nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True))
    x = np.random.default_rng(1).normal(size=(2, 5, 3)).astype(np.float32)
    lengths = np.array([2, 5])

    def loss(x):
        output, final = net.apply(params, state, x, lengths=lengths)[0]
        return (output**2).sum() + sum((part**2).sum() for part in final), output

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, output), grad = jax.tree.map(np.asarray, run(x))
    alone = jax.jit(net.apply)(params, state, x[0, :2])[0][0]
    # float32: sums in another order
    np.testing.assert_allclose(output[0, :2], alone, rtol=1e-5, atol=1e-6)
    assert (output[0, 2:] == 0).all()
    assert (grad[0, 2:] == 0).all()
    assert (grad[0, :2] != 0).any()
    changed = x.copy()
    changed[0, 2:] = 9.0
    np.testing.assert_array_equal(run(changed)[0][1], output)


@pytest.mark.parametrize("layer", [nn.RNN(2, 3), nn.LSTM(2, 3, proj_size=2), nn.GRU(2, 3)])
def test_forward_and_reverse_agree_and_go_to_second_order(layer, x64):
    net, params, state = _net(layer)
    params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
    x, direction = np.random.default_rng(0).normal(size=(2, 4, 2, 2))

    @jax.jit
    def both(x):
        loss = lambda x: jnp.sum(net.apply(params, state, x)[0][0] ** 2)
        slope = jax.jvp(loss, (x,), (direction,))[1]
        forward = jax.jvp(jax.grad(loss), (x,), (direction,))[1]
        backward = jax.grad(lambda x: jax.jvp(loss, (x,), (direction,))[1])(x)
        return slope - jnp.sum(jax.grad(loss)(x) * direction), forward - backward

    for difference in both(x):
        # float64: both sum some hundred terms of one
        np.testing.assert_allclose(difference, 0, atol=1e-12)


def test_lengths_are_checked():
    net, params, state = _net(nn.GRU(3, 4))
    with pytest.raises(ValueError, match="one for each sequence"):
        net.apply(params, state, jnp.ones((5, 2, 3)), lengths=[1, 2, 3])


def test_compile_does_not_grow_with_steps():
    """A sequence is one loop: a thousand steps have the jaxpr of ten."""
    net, params, state = _net(nn.LSTM(3, 4))

    def size(steps):
        return len(jax.make_jaxpr(net.apply)(params, state, jnp.ones((steps, 2, 3))).jaxpr.eqns)

    assert size(10) == size(1000)


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_lies_beyond_a_length_reaches_no_gradient(layer, broken):
    net, params, state = _net(layer(3, 4, num_layers=2, bidirectional=True))
    x = np.random.default_rng(1).normal(size=(5, 2, 3)).astype(np.float32)
    bad = x.copy()
    bad[2:, 0] = broken
    run = lambda params, x: jnp.sum(net.apply(params, state, x, lengths=[2, 5])[0][0] ** 2)
    grad = jax.jit(jax.grad(run, argnums=(0, 1)))
    for ours, expected in zip(
        jax.tree.leaves(grad(params, bad)), jax.tree.leaves(grad(params, x)), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("layer", [nn.RNN(3, 4), nn.LSTM(3, 4, proj_size=2), nn.GRU(3, 4)])
def test_data_decide_the_dtype_and_products_have_that_of_the_weights_too(layer):
    net, params, state = _net(layer)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 2, 3)), jnp.bfloat16)
    output, final = net.apply(params, state, x)[0]  # weights of float32
    assert {leaf.dtype for leaf in jax.tree.leaves((output, final))} == {jnp.bfloat16.dtype}
    wide = net.apply(params, state, x.astype(jnp.float32))[0][0]
    np.testing.assert_array_equal(output, wide.astype(jnp.bfloat16))  # rounded once
    narrow = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    assert net.apply(narrow, state, x.astype(jnp.float32))[0][0].dtype == jnp.float32
    with pytest.raises(TypeError, match="input has dtype int32"):
        net.apply(params, state, jnp.ones((5, 2, 3), jnp.int32))


def test_small_steps_of_a_state_in_16_bits_are_not_lost():
    """A gate of nearly one moves the state by less than half a unit in the last place of bfloat16."""
    net = fn.functionalize(nn.GRU(1, 1))
    params, state = net.init(jax.random.key(0))
    params = jax.tree.map(jnp.zeros_like, params)
    params["bias_ih_l0"] = jnp.array([0.0, 7.0, 3.0])  # keeps 0.999 of the state, and adds tanh(3)
    x = jnp.zeros((2000, 1, 1), jnp.bfloat16)
    narrow = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    exact = net.apply(params, state, x.astype(jnp.float32))[0][1]
    np.testing.assert_allclose(
        net.apply(narrow, state, x)[0][1].astype(jnp.float32), exact, rtol=4e-3
    )


@pytest.mark.parametrize("lengths", [[2, 6], [-1, 5]])
def test_known_lengths_lie_within_the_sequences(lengths):
    net, params, state = _net(nn.GRU(3, 4))
    with pytest.raises(ValueError, match=r"lengths must lie in \[0, 5\]"):
        net.apply(params, state, jnp.ones((5, 2, 3)), lengths=lengths)
