"""A penalty over paths: each layer of a stack for itself, ties once, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

KEY = jax.random.key(0)


def made(module):
    net = fn.functionalize(module)
    return net, jax.jit(net.init)(KEY)[0]


def block():
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))


@pytest.mark.parametrize("function", [F.orthogonal_penalty, F.spectral_penalty, jnp.linalg.norm])
def test_layers_of_a_stack_count_each_for_itself(function):
    net, params = made(nn.Sequential(nn.Repeat(block(), 3), nn.Linear(4, 2)))
    stacked = [params["0"]["module"][name]["weight"] for name in ("0", "2")]
    each = [function(weight[layer]) for weight in stacked for layer in range(3)]
    found = jax.jit(lambda p: fn.penalty(net, p, function, "0.*.weight"))(params)
    np.testing.assert_allclose(found, sum(each), rtol=1e-5)
    one = fn.penalty(net, params, function, "0.1.2.weight")
    np.testing.assert_allclose(one, function(stacked[1][1]), rtol=1e-5)
    whole = fn.penalty(net, params, function)
    np.testing.assert_allclose(whole, sum(each) + function(params["1"]["weight"]), rtol=1e-5)


def test_one_layer_of_a_stack_that_lies_on_several_devices():
    net, params = made(nn.Repeat(nn.Linear(3, 3), 4))
    run = jax.jit(lambda p: fn.penalty(net, p, F.orthogonal_penalty, "1.weight"))
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        found = run(jax.device_put(params, NamedSharding(mesh, PartitionSpec("data"))))
    np.testing.assert_allclose(found, run(params), rtol=1e-6)


def test_a_tied_weight_counts_once():
    class Tied(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.second.weight = self.first.weight

    net, params = made(Tied())
    alone = F.orthogonal_penalty(params["first"]["weight"])
    assert fn.penalty(net, params, F.orthogonal_penalty) == alone
    assert fn.penalty(net, params, F.orthogonal_penalty, "second.weight") == alone


def test_its_gradient_moves_chosen_weights_alone():
    net, params = made(block())
    grads = fn.grad(lambda p: fn.penalty(net, p, F.spectral_penalty, "0.weight"))(params)
    assert float(jnp.abs(grads["0"]["weight"]).max()) > 0
    assert float(jnp.abs(grads["2"]["weight"]).max()) == 0


def test_refused():
    net, params = made(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)))
    with pytest.raises(ValueError, match="matches no path; there are: 0"):
        fn.penalty(net, params, F.orthogonal_penalty, "head.*")
    with pytest.raises(ValueError, match="takes a matrix") as caught:
        fn.penalty(net, params, F.orthogonal_penalty)
    assert "1.weight" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match=r"penalty takes what fn\.functionalize\(module\) returned"):
        fn.penalty(net.module, params, F.orthogonal_penalty)
    with pytest.raises(fn.errors.ParameterTreeError, match="missing"):
        fn.penalty(net, {}, F.orthogonal_penalty)
