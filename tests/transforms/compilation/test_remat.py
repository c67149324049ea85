"""Rematerialisation policies: same values and gradients, other residuals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T


def block(w, x):
    scores = T.checkpoint_name(jnp.sin(x @ w), "scores")
    return jnp.sum(jnp.exp(jnp.cos(scores) @ w))


W, X = jnp.arange(9.0).reshape(3, 3) / 9, jnp.ones((2, 3))


def residuals(fun):
    """Shapes of what the forward pass keeps, other than its inputs."""
    _, pullback = jax.vjp(fun, W, X)
    kept = jax.tree.leaves(pullback)
    return sorted(
        leaf.shape for leaf in kept if leaf.shape != () and not any(leaf is a for a in (W, X))
    )


@pytest.mark.parametrize(
    ("policy", "names"),
    [
        (None, ()),
        ("nothing", ()),
        ("everything", ()),
        ("dots", ()),
        ("dots_with_no_batch_dims", ()),
        ("names", "scores"),
        (jax.checkpoint_policies.dots_saveable, ()),
    ],
)
def test_values_and_gradients_stay(policy, names):
    fun = T.remat(block, policy=policy, names=names)
    got = jax.jit(jax.value_and_grad(fun, (0, 1)))(W, X)
    expected = jax.jit(jax.value_and_grad(block, (0, 1)))(W, X)
    # float32: the compiler may fuse what is computed twice in another way, a few roundings of 6e-8
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, expected)


def test_policies_keep_what_they_say():
    sizes = {
        policy: len(residuals(T.remat(block, policy=policy, names=names)))
        for policy, names in (
            ("nothing", ()),
            ("names", "scores"),
            ("dots", ()),
            ("everything", ()),
        )
    }
    assert sizes["nothing"] < sizes["names"] < sizes["everything"]
    assert sizes["nothing"] < sizes["dots"] < sizes["everything"]


def test_offloading_asks_for_the_host_s_memory():
    fun = T.remat(block, policy="offload", names=["scores"])
    assert "pinned_host" in str(jax.make_jaxpr(jax.grad(fun))(W, X)) or "<host>" in str(
        jax.make_jaxpr(jax.grad(fun))(W, X)
    )


def test_decorator_and_static_arguments():
    @T.remat(policy="nothing", static_argnums=1)
    def power(x, n):
        return x**n

    assert jax.grad(power)(2.0, 3) == 12.0


def test_errors():
    with pytest.raises(ValueError, match="policy must be one of 'costly', 'dots'"):
        T.remat(block, policy="all")
    with pytest.raises(ValueError, match="need the names of values"):
        T.remat(block, policy="names")
    with pytest.raises(ValueError, match="others take none"):
        T.remat(block, policy="dots", names="scores")


def test_it_has_jax_s_other_name_too():
    assert T.checkpoint is T.remat
