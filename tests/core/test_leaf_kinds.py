"""One answer to whether a gradient moves a leaf."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.core.keys import probe_diagonal, signs_like
from funcnet.core.leaf_kinds import is_trainable

TRAINABLE = [1.0, 1j, np.float32(1), np.ones(2), jnp.ones(2), jnp.ones(2, jnp.bfloat16)]
CONSTANT = [None, 1, True, "adam", np.arange(2), jnp.arange(2), jnp.array(True), jax.random.key(0)]


@pytest.mark.parametrize("leaf", TRAINABLE, ids=repr)
def test_real_and_complex_leaves_are_moved(leaf):
    assert is_trainable(leaf)
    shape = jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))
    assert is_trainable(shape)
    jax.jit(lambda x: pytest.fail("not trainable") if not is_trainable(x) else x)(leaf)


@pytest.mark.parametrize("leaf", [*CONSTANT, np.zeros(2, jax.dtypes.float0)], ids=repr)
def test_all_others_are_constants(leaf):
    assert not is_trainable(leaf)


def test_signs_have_the_tree_s_shapes_and_dtypes_and_even_odds():
    tree = {
        "half": jnp.zeros(1000, jnp.bfloat16),
        "pair": jnp.zeros((1000, 2), jnp.complex64),
        "n": jnp.arange(3),
        "scalar": 0.0,
    }
    signs = signs_like(jax.random.key(1), tree)
    for name in ("half", "pair"):
        assert (signs[name].shape, signs[name].dtype) == (tree[name].shape, tree[name].dtype)
        assert set(np.unique(signs[name].astype(jnp.complex64))) == {-1, 1}
        # The mean of at least 1,000 signs has a deviation of at most 0.032.
        assert abs(complex(signs[name].astype(jnp.complex64).mean())) < 0.16
    np.testing.assert_array_equal(signs["n"], tree["n"])
    assert float(signs["scalar"]) in (-1.0, 1.0)


def test_one_probe_finds_the_diagonal_of_a_diagonal_matrix():
    scale = {"a": jnp.arange(1.0, 4.0), "b": jnp.array([[2.0, -3.0]])}
    found = probe_diagonal(lambda v: jax.tree.map(jnp.multiply, scale, v), scale, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, found, scale)
