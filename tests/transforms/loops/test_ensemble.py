"""Models by the dozen: each as it would be alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet import transforms as T

NET = fn.functionalize(nn.Linear(3, 2))
X = jnp.sin(jnp.arange(12.0)).reshape(4, 3)


def test_each_model_is_as_it_would_be_alone():
    models = T.ensemble(NET, 3)
    key = jax.random.key(0)
    params, state = jax.jit(models.init)(key)
    outputs, _ = jax.jit(models.apply)(params, state, X)
    for index, one_key in enumerate(jax.random.split(key, 3)):
        alone, _ = NET.apply(*NET.init(one_key), X)
        # float32: three products and a bias, added in another order: a few roundings of 6e-8
        np.testing.assert_allclose(outputs[index], alone, rtol=1e-6)
    assert T.unstack(params)[1]["weight"].shape == (2, 3)


def test_a_batch_for_each_model():
    models = T.ensemble(NET, 4, in_axes=0)
    params, state = models.init(jax.random.key(0))
    outputs, _ = models.apply(params, state, X)
    assert outputs.shape == (4, 2)


def test_training_all_is_training_each():
    models = T.ensemble(NET, 2)
    params, state = models.init(jax.random.key(1))

    def losses(params):
        return jnp.mean(models.apply(params, state, X)[0] ** 2, axis=(1, 2))

    grads = jax.jit(T.grad(lambda p: losses(p).sum()))(params)
    for one, own in zip(T.unstack(params), T.unstack(grads), strict=True):
        alone = T.grad(lambda p: jnp.mean(NET.apply(p, state, X)[0] ** 2))(one)
        # float32: a sum of four examples, each a few roundings of 6e-8, which may cancel to a tenth
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), own, alone)


def test_keys_differ_from_model_to_model():
    class Draw:
        init = staticmethod(lambda key: ({}, {}))

        @staticmethod
        def apply(params, state, x, *, key=None, train=False):
            return jax.random.uniform(key) + x * train, state

    outputs, _ = T.ensemble(Draw(), 5).apply({}, {}, 0.0, key=jax.random.key(0), train=True)
    assert len(set(outputs.tolist())) == 5


def test_stack_and_unstack():
    trees = [{"a": jnp.full(2, float(i)), "n": i} for i in range(3)]
    stacked = T.stack(trees)
    assert stacked["a"].shape == (3, 2)
    assert stacked["n"].tolist() == [0, 1, 2]
    for tree, again in zip(trees, T.unstack(stacked), strict=True):
        np.testing.assert_array_equal(again["a"], tree["a"])
    with pytest.raises(ValueError, match="at least one tree"):
        T.stack([])
    with pytest.raises(
        ValueError, match=r"a has different shapes in the trees: \[\(2,\), \(3,\)\]"
    ):
        T.stack([{"a": jnp.ones(2)}, {"a": jnp.ones(3)}])
    with pytest.raises(ValueError, match="one common leading length"):
        T.unstack({"a": jnp.ones(2), "b": jnp.ones(3)})
