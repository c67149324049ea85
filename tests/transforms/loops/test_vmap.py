"""vmap in chunks and with random keys, chunked functions of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T


def example(p, x, *, shift):
    y = jnp.tanh(p["w"] @ x["a"]) + x["n"].astype(jnp.float32) + shift
    return y, {"n": x["n"], "w": p["w"]}


P = {"w": jnp.arange(6.0).reshape(2, 3) / 6}
XS = {"a": jnp.arange(21.0).reshape(3, 7) / 21, "n": jnp.arange(7)}
OUT_AXES = (1, {"n": 0, "w": None})


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 50])
@pytest.mark.parametrize("a_axis", [1, -1])
def test_chunks_change_nothing(chunk_size, a_axis):
    in_axes = ({"w": None}, {"a": a_axis, "n": 0})
    ours = T.vmap(example, in_axes, OUT_AXES, chunk_size=chunk_size)
    theirs = jax.vmap(example, in_axes, OUT_AXES)
    # float32: another order of additions inside the matrix product, all of one sign
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        jax.jit(ours)(P, XS, shift=jnp.arange(7.0)),
        jax.jit(theirs)(P, XS, shift=jnp.arange(7.0)),
    )


def test_without_extras_it_is_jax_s():
    fun = lambda x: x * 2
    ours, theirs = T.vmap(fun, axis_name="i"), jax.vmap(fun, axis_name="i")
    assert str(jax.make_jaxpr(ours)(jnp.ones(3))) == str(jax.make_jaxpr(theirs)(jnp.ones(3)))


def test_gradients_through_chunks():
    fun = lambda w, x: jnp.sum(T.vmap(lambda row: jnp.sin(w * row), chunk_size=2)(x) ** 2)
    x = jnp.arange(5.0)
    expected = jax.grad(lambda w: jnp.sum(jnp.sin(w * x) ** 2))(0.7)
    # float32: five terms of both signs, which cancel to a tenth
    np.testing.assert_allclose(jax.grad(fun)(0.7, x), expected, rtol=1e-5)


def test_the_loop_holds_one_chunk():
    jaxpr = str(
        jax.make_jaxpr(T.vmap(lambda x: jnp.outer(x, x).sum(), chunk_size=4))(jnp.ones((12, 50)))
    )
    assert "f32[4,50,50]" in jaxpr
    assert "f32[12,50,50]" not in jaxpr


def test_a_pair_of_words_is_not_taken_for_a_key():
    pair = jnp.array([3, 5], jnp.uint32)
    for randomness in ("same", "different", "error"):
        mapped = T.vmap(lambda p, x: p + x, (None, 0), randomness=randomness)
        np.testing.assert_array_equal(
            mapped(pair, jnp.arange(3, dtype=jnp.uint32)), [[3, 5], [4, 6], [5, 7]]
        )


def test_randomness():
    draw = lambda key, x: jax.random.uniform(key, ()) + x
    key, xs = jax.random.key(0), jnp.zeros(6)
    same = T.vmap(draw, (None, 0))(key, xs)
    assert len(set(same.tolist())) == 1
    for options in ({}, {"chunk_size": 4}):
        different = T.vmap(draw, (None, 0), randomness="different", **options)(key, xs)
        expected = jax.vmap(draw)(jax.random.split(key, 6), xs)
        np.testing.assert_array_equal(different, expected)
    with pytest.raises(ValueError, match="a random key is shared by all examples"):
        T.vmap(draw, (None, 0), randomness="error")(key, xs)
    mapped = T.vmap(draw, randomness="error")(jax.random.split(key, 6), xs)
    np.testing.assert_array_equal(mapped, different)


def test_errors():
    with pytest.raises(ValueError, match="randomness must be one of"):
        T.vmap(jnp.sin, randomness="some")
    with pytest.raises(ValueError, match="a collective would see one chunk"):
        T.vmap(jnp.sin, axis_name="i", chunk_size=2)
    with pytest.raises(ValueError, match=r"different lengths: \[2, 3\]"):
        T.vmap(jnp.add, chunk_size=1)(jnp.ones(2), jnp.ones(3))
    with pytest.raises(ValueError, match="one entry for each of the 1 positional"):
        T.vmap(jnp.sin, (0, 0), chunk_size=1)(jnp.ones(2))
    with pytest.raises(ValueError, match="no argument is mapped"):
        T.vmap(jnp.sin, None, chunk_size=1)(1.0)
    with pytest.raises(ValueError, match="chunk_size must be greater than zero"):
        T.chunked(jnp.sin, 0)


def test_chunked_is_the_function_of_the_whole_batch():
    def layer(w, batch):
        return {"y": jnp.tanh(batch["x"] @ w), "n": batch["n"] * 2}

    w, batch = (
        jnp.ones((3, 2)) / 3,
        {"x": jnp.arange(30.0).reshape(10, 3) / 30, "n": jnp.arange(10)},
    )
    for size in (3, 5, 20):
        found = jax.jit(T.chunked(layer, size, in_axes=(None, 0)))(w, batch)
        # float32: another order of additions inside the matrix product, all of one sign
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, layer(w, batch)
        )
    by_column = T.chunked(lambda x: x.sum(0), 4, in_axes=1)(jnp.ones((3, 10)))
    np.testing.assert_array_equal(by_column, np.full(10, 3.0))
