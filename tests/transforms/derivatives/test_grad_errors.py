"""What a user of PyTorch gives to `grad` first, and what its errors say."""

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet import nn


@pytest.mark.parametrize("transform", [fn.grad, fn.value_and_grad])
def test_a_tuple_without_has_aux_says_has_aux(transform):
    def loss(x):
        return x.sum(), {"state": x}

    with pytest.raises(TypeError, match="has_aux=True"):
        transform(loss)(jnp.ones(3))
    assert transform(loss, has_aux=True)(jnp.ones(3)) is not None


@pytest.mark.parametrize("model", [nn.Linear(2, 2), jnp.sin])
def test_a_model_holds_no_arrays(model):
    with pytest.raises(
        TypeError, match=r"write a function of the parameters, grad\(loss\)\(params"
    ):
        fn.grad(lambda model: 1.0)(model)
    with pytest.raises(TypeError, match="holds none"):
        fn.grad(lambda x, model: x, argnums=(0, 1))(1.0, model)


def test_a_function_within_a_tree_is_a_constant():
    tree = {"weight": jnp.ones(2), "activation": jnp.sin}
    assert fn.grad(lambda tree: tree["weight"].sum())(tree)["activation"] is None
    partial = jax.tree_util.Partial(jnp.multiply, jnp.asarray(2.0))
    assert fn.grad(lambda f: f(3.0))(partial).args == (3.0,)
