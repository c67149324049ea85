"""Manifold mixup: what the chosen layer hands on is mixed, labels likewise, in every setting."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import functional as F
from funcnet import nn
from tests.sampling import sampled

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (8, 3))
LABELS = jnp.arange(8) % 4


def network():
    return nn.Sequential(
        nn.Linear(3, 5),
        nn.Tanh(),
        nn.Repeat(nn.Sequential(nn.Linear(5, 5), nn.Tanh()), 3),
        nn.Linear(5, 4),
    )


NET = fn.functionalize(network())
PARAMS, STATE = jax.jit(NET.init)(KEY)


def outputs(net, params=PARAMS, x=X):
    return net.apply(params, STATE, x)[0]


def by_hand(path, mixup, x=X):
    """The network layer by layer."""
    order = np.asarray(mixup.partners(jnp.arange(len(x))))

    def mix(name, h):
        return mixup.share * h + (1 - mixup.share) * h[order] if name == path else h

    h = mix("0", F.linear(x, PARAMS["0"]["weight"], PARAMS["0"]["bias"]))
    h = mix("1", jnp.tanh(h))
    inner = PARAMS["2"]["module"]["0"]
    for layer in range(3):
        h = mix(f"2.{layer}", jnp.tanh(F.linear(h, inner["weight"][layer], inner["bias"][layer])))
    return mix("3", F.linear(h, PARAMS["3"]["weight"], PARAMS["3"]["bias"]))


@pytest.mark.parametrize(
    ("path", "share"), [("0", None), ("1", 0.3), ("2.0", None), ("2.2", 0.3), ("3", None)]
)
def test_a_layer_hands_on_mixtures(path, share, request):
    sampled(request, path in ("0", "2.2"))
    mixup = fn.manifold_mixup(NET, path, jax.random.key(5), share=share)
    np.testing.assert_allclose(
        jax.jit(lambda p: outputs(mixup.net, p))(PARAMS), by_hand(path, mixup), atol=1e-5
    )


def test_one_of_several_layers_is_drawn_for_each_batch():
    paths = ["1", "2.1", "2.2"]

    @jax.jit
    def run(key):
        mixup = fn.manifold_mixup(NET, ["1", "2.[12]"], key)
        return outputs(mixup.net), mixup.share

    drawn = set()
    for seed in range(12):
        found, share = run(jax.random.key(seed))
        mixup = fn.manifold_mixup(NET, "1", jax.random.key(seed), share=share)
        fits = [path for path in paths if np.allclose(found, by_hand(path, mixup), atol=1e-5)]
        assert len(fits) == 1
        drawn.update(fits)
    assert drawn == set(paths)


def test_the_loss_is_that_of_mixed_labels():
    mixup = fn.manifold_mixup(NET, "1", KEY)
    logits = jax.jit(lambda: outputs(mixup.net))()
    mixed = mixup.mixed(jax.nn.one_hot(LABELS, 4))
    np.testing.assert_allclose(mixed.sum(1), 1, rtol=1e-6)
    expected = F.cross_entropy(logits, mixed)
    np.testing.assert_allclose(mixup.loss(F.cross_entropy, logits, LABELS), expected, rtol=1e-5)
    each = mixup.loss(F.cross_entropy, logits, LABELS, reduction="none")
    np.testing.assert_allclose(each.mean(), expected, rtol=1e-5)


def test_gradients_and_shares_follow_the_beta_distribution():
    def objective(params, key):
        mixup = fn.manifold_mixup(NET, "2.1", key, alpha=3.0)
        return mixup.loss(F.cross_entropy, outputs(mixup.net, params), LABELS), mixup.share

    keys = jax.random.split(KEY, 300)
    run = jax.jit(
        lambda: (
            jax.vmap(partial(objective, PARAMS))(keys)[1],
            jax.grad(objective, has_aux=True)(PARAMS, KEY)[0],
        )
    )
    shares, grads = run()
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(grads))
    assert float(shares.mean()) == pytest.approx(0.5, abs=4 * 0.189 / 300**0.5)
    assert float(shares.std()) == pytest.approx(0.189, abs=0.03)  # 1 / sqrt(4 (2·3 + 1))


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_on_a_mesh_it_is_the_same(kind):
    mesh = jax.make_mesh((4,), ("data",), axis_types=(getattr(jax.sharding.AxisType, kind),))
    x = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))

    def run(x, key):
        mixup = fn.manifold_mixup(NET, "1", key)
        return outputs(mixup.net, x=x)

    expected = jax.jit(run)(X, KEY)
    with jax.set_mesh(mesh):
        np.testing.assert_allclose(jax.jit(run)(x, KEY), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_dtypes_and_empty_batches(dtype):
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), PARAMS)
    mixup = fn.manifold_mixup(NET, "1", KEY)
    found = jax.jit(lambda p: outputs(mixup.net, p, X.astype(dtype)))(params)
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found.astype("f4"), by_hand("1", mixup), atol=30 * float(jnp.finfo(dtype).eps)
    )
    assert outputs(mixup.net, PARAMS, X[:0]).shape == (0, 4)


def test_refused():
    with pytest.raises(TypeError, match="manifold_mixup takes what"):
        fn.manifold_mixup(network(), "0", KEY)
    with pytest.raises(ValueError, match="matches no path"):
        fn.manifold_mixup(NET, "head", KEY)
    with pytest.raises(ValueError, match="alpha"):
        fn.manifold_mixup(NET, "0", KEY, alpha=0)
    mixup = fn.manifold_mixup(NET, "0", KEY)
    with pytest.raises(TypeError, match=r"mixup\.loss"):
        mixup.mixed(LABELS)
    with pytest.raises(ValueError, match="axis of samples"):
        mixup.mixed(jnp.ones(()))
    lstm = fn.functionalize(nn.Sequential(nn.LSTM(3, 4, batch_first=True)))
    params, state = lstm.init(KEY)
    mixing = fn.manifold_mixup(lstm, "0", KEY)
    with pytest.raises(ValueError, match="choose a layer that returns one array"):
        mixing.net.apply(params, state, jnp.ones((5, 2, 3)))
