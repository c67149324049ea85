"""Microbatches: the numbers of the whole batch, the memory of a part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T

PARAMS = {"w": jnp.arange(6.0).reshape(3, 2) / 6, "b": jnp.zeros(2), "n": jnp.array(3)}
BATCH = {"x": jnp.sin(jnp.arange(36.0)).reshape(12, 3), "mask": jnp.arange(12) % 3 != 0}


def per_example(params, batch):
    return jnp.sum(jnp.tanh(batch["x"] @ params["w"] + params["b"]) ** 2, axis=-1)


def close(a, b):
    # float32: a sum of parts against one sum of the twelve examples, each about one, some negative: a dozen
    # roundings of 6e-8 of the whole, which are absolute where the examples cancel
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6, atol=1e-7), a, b)


@pytest.mark.parametrize("count", [1, 3, 12])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_equals_the_whole_batch(count, reduction):
    def loss(params, batch):
        return getattr(jnp, reduction)(per_example(params, batch))

    options = {"microbatches": count, "reduction": reduction}
    found = jax.jit(T.value_and_grad(loss, **options))(PARAMS, BATCH)
    close(found, jax.jit(T.value_and_grad(loss))(PARAMS, BATCH))
    close(jax.jit(T.grad(loss, **options))(PARAMS, batch=BATCH), found[1])


def test_weighted_means():
    def loss(params, batch):
        count = batch["mask"].sum().astype(jnp.float32)
        return jnp.sum(per_example(params, batch) * batch["mask"].astype(jnp.float32)) / count, {
            "tokens": count
        }

    both = T.value_and_grad(loss, has_aux=True, microbatches=4, weight=lambda aux: aux["tokens"])
    (value, aux), grads = jax.jit(both)(PARAMS, BATCH)
    (whole, _), expected = jax.jit(T.value_and_grad(loss, has_aux=True))(PARAMS, BATCH)
    close((value, grads), (whole, expected))
    assert aux["tokens"].shape == (4,)
    assert aux["tokens"].sum() == 8


def test_a_part_without_weight_counts_for_nothing():
    def loss(w, batch):
        total = batch["mask"].sum()
        return (jnp.sin(w * batch["x"]) * batch["mask"]).sum() / total, total

    batch = {"x": jnp.arange(1.0, 5.0), "mask": jnp.array([1.0, 0.0, 1.0, 0.0])}
    both = T.value_and_grad(loss, has_aux=True, microbatches=2, weight=lambda total: total)
    (value, totals), slope = jax.jit(both)(0.7, batch)
    np.testing.assert_array_equal(totals, [2.0, 0.0])  # the second part's mean is 0 / 0
    (expected, _), whole = jax.value_and_grad(loss, has_aux=True)(0.7, batch)
    close((value, slope), (expected, whole))


@pytest.mark.parametrize("more", [False, True])
def test_state_is_threaded(more):
    def loss(params, state, x, *, scale):
        state = {"count": state["count"] + 1, "sum": state["sum"] + x.sum()}
        value = jnp.mean(x @ params["w"]) * scale
        return value, (state, {"mean": x.mean()}) if more else state

    state = {"count": jnp.array(0), "sum": jnp.float32(0)}
    both = T.value_and_grad(loss, has_aux=True, microbatches=3, batched="x", threaded="state")
    (value, aux), _ = jax.jit(both)(PARAMS, state, BATCH["x"], scale=2.0)
    new = aux[0] if more else aux
    assert new["count"] == 3
    # float32: 36 sines that cancel to a tenth of their size, added up in another order
    np.testing.assert_allclose(new["sum"], BATCH["x"].sum(), rtol=1e-5)
    np.testing.assert_allclose(value, 2 * jnp.mean(BATCH["x"] @ PARAMS["w"]), rtol=1e-5)
    if more:
        assert aux[1]["mean"].shape == (3,)


def test_keys_differ_from_part_to_part():
    def loss(w, x, key):
        return w * jnp.mean(x), jax.random.uniform(key)

    both = T.value_and_grad(loss, has_aux=True, microbatches=4, batched=1)
    (_, draws), _ = both(1.0, jnp.ones(8), jax.random.key(0))
    assert len(set(draws.tolist())) == 4


def test_sixteen_bit_gradients_add_up_in_32():
    def loss(w, batch):
        return jnp.mean(w * batch)

    batch = jnp.ones(256, jnp.bfloat16)
    grads = T.grad(loss, microbatches=256, reduction="sum")(jnp.bfloat16(1), batch)
    assert grads == 256
    assert grads.dtype == jnp.bfloat16


def test_composes_with_wrt_vmap_and_second_derivatives():
    def loss(params, batch):
        return jnp.mean(per_example(params, batch))

    by_parts = T.value_and_grad(loss, wrt="b", microbatches=3)
    _, grads = by_parts(PARAMS, BATCH)
    assert grads["w"] is None
    whole = lambda b: T.grad(loss)({**PARAMS, "b": b}, BATCH)["b"]
    parts = lambda b: by_parts({**PARAMS, "b": b}, BATCH)[1]["b"]
    close(jax.jit(jax.jacfwd(parts))(PARAMS["b"]), jax.jit(jax.jacfwd(whole))(PARAMS["b"]))
    many = jnp.stack([PARAMS["b"], PARAMS["b"] + 1])
    close(jax.jit(jax.vmap(parts))(many), jax.jit(jax.vmap(whole))(many))


def test_the_scan_holds_one_part():
    loss = lambda w, batch: jnp.mean(jnp.tanh(batch @ w))
    jaxpr = str(jax.make_jaxpr(T.grad(loss, microbatches=4))(jnp.ones((3, 50)), jnp.ones((16, 3))))
    assert "f32[4,50]" in jaxpr
    assert "f32[16,50]" not in jaxpr


def test_errors():
    loss = lambda w, batch: (w * batch).mean()
    with pytest.raises(ValueError, match="that 5 microbatches divide; got a leaf of shape"):
        T.grad(loss, microbatches=5)(1.0, jnp.ones(12))
    with pytest.raises(ValueError, match=r"name one `batch`, or pass batched="):
        T.grad(lambda w, x: w * x.mean(), microbatches=2)(1.0, jnp.ones(12))
    with pytest.raises(ValueError, match="pass has_aux=True"):
        T.grad(loss, microbatches=2, threaded="state")
    with pytest.raises(ValueError, match="'nope' is no argument of this call"):
        T.grad(loss, microbatches=2, batched="nope")(1.0, jnp.ones(2))
    with pytest.raises(ValueError, match="must return the new s as its aux"):
        T.grad(
            lambda w, s, batch: (w * batch.mean(), [1.0, 2.0]),
            has_aux=True,
            microbatches=2,
            threaded="s",
        )(1.0, {"a": 1.0}, jnp.ones(2))
