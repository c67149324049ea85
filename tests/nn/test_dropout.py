"""Dropout in training: rates, moments, channels, keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn
from funcnet.core.errors import MissingKeyError

SIZE = 1 << 20


@pytest.mark.parametrize("p", [0.5, 0.1, 0.9, 0.25, 0.3, 0.01, 0.999, 1e-4])
def test_rate_and_scale(p, key):
    output = jax.jit(lambda x, key: F.dropout(x, p, key=key))(jnp.ones((16, SIZE // 16)), key)
    values = np.asarray(output)
    dropped = (values == 0).mean()
    # five standard deviations of a binomial fraction
    assert abs(dropped - p) < 5 * np.sqrt(p * (1 - p) / SIZE)
    # float32, rounded once or twice
    np.testing.assert_allclose(values[values != 0], 1 / (1 - p), rtol=1e-6)


def test_neighbours_are_independent(key):
    kept = np.asarray(F.dropout(jnp.ones((64, 4096)), 0.3, key=key)) != 0
    for lag in (1, 2, 3, 4, 8):  # elements share random words: their pieces must not
        together = (kept[:, :-lag] & kept[:, lag:]).mean()
        assert abs(together - 0.49) < 5e-3
    assert abs((kept[:-1] & kept[1:]).mean() - 0.49) < 5e-3


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (0, 3), (2, 3, 1), (4, 0)])
def test_any_shape(shape, key):
    for p in (0.5, 0.1, 0.001):
        assert F.dropout(jnp.ones(shape), p, key=key).shape == shape


@pytest.mark.parametrize(
    ("name", "shape", "channels"),
    [
        ("dropout1d", (16, 32, 5), 2),
        ("dropout1d", (64, 5), 1),
        ("dropout2d", (16, 32, 3, 4), 2),
        ("dropout2d", (16, 32, 5), 2),
        ("dropout3d", (16, 32, 2, 3, 2), 2),
        ("dropout3d", (64, 2, 3, 2), 1),
        ("feature_alpha_dropout", (16, 32, 5), 2),
    ],
)
def test_whole_channels_are_dropped(name, shape, channels, key):
    output = np.asarray(getattr(F, name)(jnp.ones(shape), 0.5, True, key=key))
    flat = output.reshape(int(np.prod(shape[:channels])), -1)
    assert (flat == flat[:, :1]).all()
    assert len(np.unique(flat[:, 0])) == 2
    assert 0.3 < (flat[:, 0] == flat[:, 0].min()).mean() < 0.7


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(p, key):
    x = jax.random.normal(jax.random.key(1), (SIZE,))
    output = np.asarray(jax.jit(lambda x, key: F.alpha_dropout(x, p, True, key=key))(x, key))
    assert abs(output.mean()) < 0.01
    assert abs(output.var() - 1) < 0.01


def test_gradients_pass_where_elements_stay(key):
    def total(x):
        return F.dropout(x, 0.25, key=key).sum()

    x = jnp.full((40,), 3.0)
    output, grads = F.dropout(x, 0.25, key=key), jax.grad(total)(x)
    np.testing.assert_allclose(grads * 3.0, output, rtol=1e-6)  # float32, rounded once or twice


def test_layers_draw_their_own_keys():
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    bound = fn.bind(model, {}, {}, key=jax.random.key(0), train=True)
    first, second = (np.asarray(layer(jnp.ones(256))) != 0 for layer in bound)
    assert 0.3 < (first == second).mean() < 0.7
    again = fn.bind(model, {}, {}, key=jax.random.key(0), train=True)
    np.testing.assert_array_equal(np.asarray(again[0](jnp.ones(256))) != 0, first)
    quiet = fn.bind(model, {}, {})
    np.testing.assert_array_equal(quiet(jnp.ones(4)), jnp.ones(4))


def test_a_key_is_asked_for_only_where_it_matters():
    x = jnp.ones(3)
    for p, training in ((0.0, True), (1.0, True), (0.5, False)):
        F.dropout(x, p, training)
    for function in (F.dropout, F.alpha_dropout):
        with pytest.raises(MissingKeyError, match="key"):
            function(x, 0.5, True)
    with pytest.raises(MissingKeyError, match="Dropout"):
        fn.functionalize(nn.Dropout()).apply({}, {}, x, train=True)


def test_attention_drops_weights(key):
    value = jnp.ones((4, 64, 64, 2))
    attend = jax.jit(
        lambda q, v, key: F.scaled_dot_product_attention(q, q, v, dropout_p=0.5, dropout_key=key)
    )
    output = np.asarray(attend(jnp.zeros((4, 64, 64, 8)), value, key))
    assert abs(output.mean() - 1) < 0.01
    assert output.std() > 0.05
    with pytest.raises(MissingKeyError, match="dropout_key"):
        F.scaled_dot_product_attention(value, value, value, dropout_p=0.5)


def test_random_activations(key):
    x = -jnp.ones((SIZE,))
    slopes = -np.asarray(F.rrelu(x, 0.25, 0.75, True, key=key))
    assert slopes.min() >= 0.25
    assert slopes.max() <= 0.75
    assert abs(slopes.mean() - 0.5) < 1e-3
    logits = jnp.log(jnp.array([0.2, 0.3, 0.5]))
    hard = F.gumbel_softmax(jnp.tile(logits, (100_000, 1)), tau=0.5, hard=True, key=key)
    np.testing.assert_allclose(hard.mean(0), [0.2, 0.3, 0.5], atol=0.01)  # 100,000 draws
    assert set(np.unique(np.asarray(hard).round(5))) == {0.0, 1.0}
    model = fn.bind(nn.RReLU(), {}, {}, train=True, key=key)
    assert len(np.unique(model(-jnp.ones(100)))) > 50


def test_gumbel_softmax_refuses_integers():
    with pytest.raises(TypeError, match="logits has dtype int32"):
        F.gumbel_softmax(jnp.zeros(3, jnp.int32), key=jax.random.key(0))


def test_feature_alpha_dropout_takes_what_pytorch_takes():
    number, nothing = jnp.array(2.0), jnp.zeros(0)
    assert F.feature_alpha_dropout(number, 0.5, False) == 2
    assert F.feature_alpha_dropout(nothing, 0.5, True, key=jax.random.key(0)).shape == (0,)
    with pytest.raises(ValueError, match=r"\(N, C, ...\)"):
        F.feature_alpha_dropout(jnp.ones(3), 0.5, True, key=jax.random.key(0))


def test_what_is_kept_in_16_bits_is_rounded_once():
    x = jnp.asarray(np.linspace(-4, 4, 257), jnp.bfloat16)
    for function in (F.dropout, F.alpha_dropout):
        wide, half = (
            function(x.astype(dtype), 0.1, True, key=jax.random.key(0))
            for dtype in (jnp.float32, jnp.bfloat16)
        )
        np.testing.assert_array_equal(half, wide.astype(jnp.bfloat16))
