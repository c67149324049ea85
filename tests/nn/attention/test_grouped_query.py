"""Grouped-query attention against a loop over heads; decoding against the whole sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import funcnet as fn
from funcnet import nn


def built(layer):
    """Give a module weights drawn by NumPy: nothing has to be compiled."""
    net, draw = fn.functionalize(layer), np.random.default_rng(1).standard_normal
    params, state = jax.eval_shape(net.init, jax.random.key(0))
    return net, jax.tree.map(lambda p: jnp.asarray(draw(p.shape) * 0.5, p.dtype), params), state


def loop(params, x, heads, kv_heads, head_dim, turn=lambda heads: heads, mask=True):
    """Attend head by head."""
    q, k, v = (x @ params[f"{name}_proj"]["weight"].T for name in "qkv")
    split = lambda a: a.reshape(len(x), -1, head_dim).swapaxes(0, 1)
    q, k, v = turn(split(q)), turn(split(k)), split(v)
    seen = np.tri(len(x), dtype=bool) & mask
    parts = []
    for head in range(heads):
        shared = head // (heads // kv_heads)
        scores = jnp.where(seen, q[head] @ k[shared].T / head_dim**0.5, -jnp.inf)
        parts.append(jax.nn.softmax(scores) @ v[shared])
    return jnp.concatenate(parts, -1) @ params["o_proj"]["weight"].T


@pytest.mark.parametrize(
    ("kv_heads", "rotary"),
    [
        (1, None),
        (2, nn.RotaryEmbedding(6)),
        (4, nn.RotaryEmbedding(4, interleaved=True)),
    ],
)
def test_is_a_loop_over_heads(rng, x64, kv_heads, rotary):
    layer = nn.GroupedQueryAttention(10, 4, kv_heads, head_dim=6, rotary=rotary, dtype=jnp.float64)
    net, params, state = built(layer)
    x = rng.standard_normal((4, 10))
    mask = np.tril(rng.random((4, 4)) < 0.7) | np.eye(4, dtype=bool)
    turn = rotary or (lambda heads: heads)

    def ours(params, x):
        free, masked = (net.apply(params, state, x, m)[0][0] for m in (None, jnp.asarray(mask)))
        return jnp.stack([free, masked])

    def theirs(params, x):
        return jnp.stack([loop(params, x, 4, kv_heads, 6, turn, m) for m in (True, mask)])

    def both(run):
        def loss(params, x):
            output = run(params, x)
            return (output**3).sum(), output

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)

    for a, b in zip(jax.tree.leaves(both(ours)), jax.tree.leaves(both(theirs)), strict=True):
        # the same sums of tens of terms in another order
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_leading_axes_masks_and_no_causality(rng):
    layer = nn.GroupedQueryAttention(8, 4, 2, bias=True, is_causal=False)
    net, params, state = built(layer)
    params = jax.tree.map(np.asarray, params)
    x = rng.standard_normal((2, 3, 5, 8), np.float32)
    bias = rng.standard_normal((4, 5, 5), np.float32)
    mask = jnp.asarray(bias)

    @jax.jit
    def run(x):
        call = lambda x: net.apply(params, state, x, mask)[0][0]
        return call(x), jax.vmap(jax.vmap(call))(x), call(x[:, :0])

    ours, mapped, none = run(x)
    np.testing.assert_allclose(ours, mapped, rtol=1e-5, atol=1e-6)  # float32
    assert none.shape == (2, 0, 5, 8)

    def affine(x, name):
        return x @ params[name]["weight"].T + params[name]["bias"]

    q, k, v = (
        np.swapaxes(affine(x, f"{name}_proj").reshape(2, 3, 5, -1, 2), -2, -3) for name in "qkv"
    )
    k, v = np.repeat(k, 2, -3), np.repeat(v, 2, -3)
    weights = softmax(q @ np.swapaxes(k, -1, -2) / 2**0.5 + bias, -1)
    heads = np.swapaxes(weights @ v, -2, -3).reshape(2, 3, 5, 8)
    np.testing.assert_allclose(ours, affine(heads, "o_proj"), rtol=1e-5, atol=1e-5)  # float32


def test_a_float_mask_joins_the_causal_one(rng):
    free, causal = (nn.GroupedQueryAttention(8, 2, is_causal=flag) for flag in (False, True))
    net, params, state = built(free)
    x, bias = rng.standard_normal((5, 8), np.float32), rng.standard_normal((5, 5), np.float32)
    ahead = np.where(np.tri(5, dtype=bool), bias, -np.inf)
    ours = jax.jit(fn.functionalize(causal).apply)(params, state, x, jnp.asarray(bias))
    theirs = jax.jit(net.apply)(params, state, x, jnp.asarray(ahead))
    # float32, rounded once or twice
    np.testing.assert_allclose(ours[0][0], theirs[0][0], rtol=1e-6)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_decoding_in_one_scan_equals_the_whole_pass(rng, x64, kv_heads):
    layer = nn.GroupedQueryAttention(
        16, 4, kv_heads, rotary=nn.RotaryEmbedding(4), dtype=jnp.float64
    )
    net, params, state = built(layer)
    x = rng.standard_normal((2, 12, 16))

    @jax.jit
    def decode(x):
        cache = layer.empty_cache((2,), 15, jnp.float64)
        (first, cache), _ = net.apply(params, state, x[:, :5], cache=cache)  # the prompt at once

        def step(cache, token):
            (output, cache), _ = net.apply(params, state, token[:, None], cache=cache)
            return cache, output[:, 0]

        cache, rest = jax.lax.scan(step, cache, jnp.swapaxes(x[:, 5:], 0, 1))
        return jnp.concatenate([first, jnp.swapaxes(rest, 0, 1)], 1), cache

    output, cache = decode(x)
    whole = jax.jit(lambda x: net.apply(params, state, x)[0][0])(x)
    np.testing.assert_allclose(output, whole, rtol=1e-10, atol=1e-12)  # sums in another order
    assert int(cache.length) == 12
    assert cache.capacity == 15
    assert not np.asarray(cache.key[..., 12:, :]).any()


def test_prompts_of_different_lengths_are_mapped(rng):
    layer = nn.GroupedQueryAttention(8, 2, 1, rotary=nn.RotaryEmbedding(4))
    net, params, state = built(layer)
    xs = rng.standard_normal((2, 6, 8), np.float32)
    lengths = jnp.array([2, 4])

    @jax.jit
    def last(xs):
        def one(x, length):
            (_, cache), _ = net.apply(params, state, x[:5], cache=layer.empty_cache((), 8))
            cache = cache._replace(length=length)  # forget the padding
            return net.apply(params, state, x[5:], cache=cache)[0][0][0]

        return jax.vmap(one)(xs, lengths)

    for x, length, ours in zip(xs, lengths, last(xs), strict=True):
        whole = np.concatenate([x[:length], x[5:]])
        expected = loop(params, whole, 2, 1, 4, nn.RotaryEmbedding(4))[-1]
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)  # float32


class Decoder(nn.Module):
    """A small language model whose blocks have a cache each."""

    def __init__(self):
        self.embedding = nn.Embedding(11, 8)
        self.blocks = [
            nn.GroupedQueryAttention(8, 2, 1, rotary=nn.RotaryEmbedding(4)) for _ in range(2)
        ]
        self.head = nn.Linear(8, 11)

    def empty_caches(self, batch, capacity):
        return [block.empty_cache((batch,), capacity) for block in self.blocks]

    def __call__(self, tokens, caches=(None, None)):
        x, kept = self.embedding(tokens), []
        for block, cache in zip(self.blocks, caches, strict=True):
            update, cache = block(x, cache=cache)
            x, kept = x + update, [*kept, cache]
        return self.head(x), kept


def test_greedy_generation_in_one_loop(rng):
    model = Decoder()
    net, params, state = built(model)
    prompt = rng.integers(0, 11, (3, 4))

    @jax.jit
    def generate(prompt):
        (logits, caches), _ = net.apply(params, state, prompt, model.empty_caches(3, 16))

        def body(i, carry):
            token, caches, tokens = carry
            tokens = tokens.at[:, i].set(token)
            (logits, caches), _ = net.apply(params, state, token[:, None], caches)
            return logits[:, -1].argmax(-1), caches, tokens

        carry = logits[:, -1].argmax(-1), caches, jnp.zeros((3, 8), jnp.int32)
        return jax.lax.fori_loop(0, 8, body, carry)[2]

    ours, tokens = generate(prompt), np.zeros((3, 12), np.int64)
    tokens[:, :4] = prompt
    whole = jax.jit(lambda tokens: net.apply(params, state, tokens)[0][0])
    for place in range(4, 12):  # what stands behind a position does not change its logits
        tokens[:, place] = whole(tokens)[:, place - 1].argmax(-1)
    np.testing.assert_array_equal(ours, tokens[:, 4:])
    assert len(np.unique(ours)) > 1


def test_a_full_cache_raises_or_answers_nan(rng):
    layer = nn.GroupedQueryAttention(8, 2)
    net, params, state = built(layer)
    x = rng.standard_normal((1, 3, 8), np.float32)
    step = lambda cache: net.apply(params, state, x, cache=cache)[0]
    cache = layer.empty_cache((1,), 4)._replace(length=jnp.int32(3))
    with pytest.raises(ValueError, match="3 positions do not fit behind the 3 of a cache"):
        step(cache)
    run = jax.jit(step)
    assert np.isnan(run(cache)[0]).all()
    assert np.isfinite(run(cache._replace(length=jnp.int32(1)))[0]).all()


def test_dropout_draws_in_training_only(rng):
    layer = nn.GroupedQueryAttention(8, 2, dropout=0.5)
    net, params, state = built(layer)
    x = rng.standard_normal((6, 8), np.float32)
    run = lambda **options: net.apply(params, state, x, **options)[0][0]
    np.testing.assert_array_equal(run(), run(key=jax.random.key(0)))
    with pytest.raises(fn.errors.MissingKeyError):
        run(train=True)
    a, b = (run(train=True, key=jax.random.key(seed)) for seed in (0, 1))
    assert not np.allclose(a, b)


def test_sixteen_bits(rng):
    layer = nn.GroupedQueryAttention(8, 2, 1, rotary=nn.RotaryEmbedding(4), dtype=jnp.bfloat16)
    net, params, state = built(layer)
    x = jnp.asarray(rng.standard_normal((5, 8)), jnp.bfloat16)
    cache = layer.empty_cache((), 8, jnp.bfloat16)
    (output, cache), _ = jax.jit(net.apply)(params, state, x, cache=cache)
    assert output.dtype == cache.key.dtype == jnp.bfloat16
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), (params, x))
    exact = loop(*wide, 2, 1, 4, nn.RotaryEmbedding(4))
    # bfloat16 has 8 bits of mantissa; values are near 0.3
    np.testing.assert_allclose(np.asarray(output, np.float32), exact, rtol=3e-2, atol=1e-2)


def test_positions_may_be_given(rng):
    layer = nn.GroupedQueryAttention(8, 2, rotary=nn.RotaryEmbedding(4))
    net, params, state = built(layer)
    x = rng.standard_normal((2, 3, 8), np.float32)
    run = jax.jit(lambda p: net.apply(params, state, x, positions=p)[0][0])
    plain = run(jnp.arange(3) * jnp.ones((2, 1, 1), jnp.int32))
    # only distances count
    moved = run(jnp.array([[[5, 6, 7]], [[0, 1, 2]]]))
    np.testing.assert_allclose(plain, moved, rtol=1e-4, atol=1e-5)  # angles in float32
    # a hundred times the tolerance above
    assert not np.allclose(plain, run(jnp.array([[[0, 2, 4]]] * 2)), atol=1e-3)


def test_mistakes():
    with pytest.raises(ValueError, match="num_heads must be divisible"):
        nn.GroupedQueryAttention(8, 4, 3)
    with pytest.raises(ValueError, match="embed_dim must be divisible"):
        nn.GroupedQueryAttention(9, 2)
    with pytest.raises(ValueError, match="rotary turns 8 features"):
        nn.GroupedQueryAttention(8, 2, rotary=nn.RotaryEmbedding(8))
    layer = nn.GroupedQueryAttention(8, 2, is_causal=False)
    net, params, state = built(layer)
    with pytest.raises(ValueError, match="needs is_causal=True"):
        net.apply(params, state, jnp.ones((3, 8)), cache=layer.empty_cache((), 4))
    with pytest.raises(ValueError, match="capacity must be greater"):
        layer.empty_cache((), 0)
    with pytest.raises(ValueError, match="cannot join a cache"):
        nn.KeyValueCache.empty((2,), 4, 3).append(jnp.ones((1, 1, 3)), jnp.ones((1, 1, 3)))
