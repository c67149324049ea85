"""Transforms of a model whose batch four devices share: what comes out is what one device gives.

The mesh's axes are automatic. `jax.set_mesh` around the call changes nothing, and is not needed.
"""

from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import nn, transforms

KEY = jax.random.key(3)
FEATURES, BATCH = 4, 8


class Accumulate(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(FEATURES, FEATURES)

    def __call__(self, carry, x):
        carry = jnp.tanh(self.linear(carry) + x)
        return carry, carry


class OverTime(nn.Module):
    """Scan along three copies of the features: a carry that varies with the batch."""

    def __init__(self):
        self.steps = nn.Scan(Accumulate(), axis=1)

    def __call__(self, x):
        return self.steps(x, jnp.stack([x, 2 * x, -x], 1))[1]


def block():
    return nn.Sequential(nn.Linear(FEATURES, 6), nn.GELU(), nn.Dropout(0.3), nn.Linear(6, FEATURES))


MODELS = {
    "plain": block,
    "Remat": lambda: nn.Remat(block()),
    "Repeat": lambda: nn.Repeat(block(), 2),
    "Repeat, all again": lambda: nn.Repeat(block(), 2, remat=True, unroll=2),
    "Scan": OverTime,
    "Vmap": lambda: nn.Vmap(nn.Linear(FEATURES, FEATURES), 3, in_axes=None),
}


def loss_of(net, params, state, x):
    return jnp.mean(jnp.square(net.apply(params, state, x, key=KEY, train=True)[0] - 1))


def one_loss(net, state, params, x):
    return jnp.sum(jnp.square(net.apply(params, state, x[None], key=KEY, train=False)[0] - 1))


def of_params(net, state, x):
    return lambda params: loss_of(net, params, state, x)


def like(params):
    return jax.tree.map(jnp.ones_like, params)


TRANSFORMS = {
    "jit": lambda net, params, state, x: net.apply(params, state, x),
    "grad": lambda net, *given: jax.grad(partial(loss_of, net), (0, 2))(*given),
    "value_and_grad": lambda net, *given: transforms.value_and_grad(partial(loss_of, net))(*given),
    "microbatches": lambda net, params, state, x: transforms.value_and_grad(
        lambda params, x: loss_of(net, params, state, x), microbatches=2, batched=1
    )(params, x),
    "vmap": lambda net, params, state, x: transforms.vmap(
        lambda x: net.apply(params, state, x[None])[0]
    )(x),
    "vmap in chunks": lambda net, params, state, x: transforms.vmap(
        lambda x: net.apply(params, state, x[None])[0], chunk_size=2
    )(x),
    "remat": lambda net, *given: jax.grad(transforms.remat(partial(loss_of, net)))(*given),
    "jvp": lambda net, params, state, x: jax.jvp(
        of_params(net, state, x), (params,), (like(params),)
    ),
    "hvp": lambda net, params, state, x: transforms.hvp(
        of_params(net, state, x), (params,), (like(params),)
    ),
    "per_example_grad": lambda net, params, state, x: transforms.per_example_grad(
        partial(one_loss, net, state)
    )(params, x),
    "clipped_grad": lambda net, params, state, x: transforms.clipped_grad(
        partial(one_loss, net, state), 0.1
    )(params, x),
    "private_grad": lambda net, params, state, x: transforms.private_grad(
        partial(one_loss, net, state), 0.1, 1.0
    )(KEY, params, x),
    "ensemble": lambda net, params, state, x: transforms.ensemble(net, 2).apply(
        *jax.tree.map(lambda x: jnp.stack([x, 2 * x]), (params, state)), x
    ),
    "gauss_newton_vp": lambda net, params, state, x: transforms.gauss_newton_vp(
        lambda params: net.apply(params, state, x)[0],
        lambda output: jnp.mean(jnp.square(output)),
        (params,),
        (like(params),),
    ),
    "capture": lambda net, params, state, x: fn.capture(net, "*").apply(params, state, x),
    "grad of captured": lambda net, params, state, x: jax.grad(
        lambda params: sum(
            jnp.sum(jnp.sin(value))
            for value in fn.capture(net, "*").apply(params, state, x)[0][1].values()
            if isinstance(value, jax.Array)
        )
    )(params),
}

PAIRS = [("plain", transform) for transform in TRANSFORMS] + [
    (model, transform) for model in MODELS if model != "plain" for transform in ("grad", "capture")
]
"""All transforms of a plain model, and those of every training step of each wrapper."""


def pytest_generate_tests(metafunc):
    if "transform" in metafunc.fixturenames:
        full = metafunc.config.getoption("grid") == "full"
        every = [(model, transform) for model in MODELS for transform in TRANSFORMS]
        metafunc.parametrize(("model", "transform"), every if full else PAIRS)


def test_as_on_one_device(model, transform, rng):
    net = fn.functionalize(MODELS[model]())
    params, state = net.init(jax.random.key(0), jnp.ones((BATCH, FEATURES)))
    x = rng.standard_normal((BATCH, FEATURES), np.float32)
    function = jax.jit(partial(TRANSFORMS[transform], net))
    alone = function(params, state, jnp.asarray(x))
    mesh = fn.parallel.mesh(data=-1)
    whole = jax.device_put((params, state), NamedSharding(mesh, PartitionSpec()))
    spread = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
    within = transform in ("jit", "grad", "capture") or model == "plain"
    for context in (nullcontext, partial(jax.set_mesh, mesh))[: 1 + within]:
        with context():
            found = function(*whole, spread)
        # float32 sums in another order
        close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
        jax.tree.map(close, found, alone)


@pytest.mark.parametrize("remat", [False, True, "costly"])
def test_a_repeated_block_inside_shard_map(remat, rng):
    """The carry of its scan varies over devices from the start; gradients are summed."""
    net = fn.functionalize(
        nn.Repeat(nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.GELU()), 3, remat=remat)
    )
    params, state = net.init(jax.random.key(0))
    x = rng.standard_normal((BATCH, FEATURES), np.float32)

    def grads(params, x):
        return jax.grad(lambda params: jnp.sum(jnp.sin(net.apply(params, state, x)[0])))(params)

    mapped = jax.shard_map(
        grads,
        mesh=fn.parallel.mesh(data=-1),
        in_specs=(PartitionSpec(), PartitionSpec("data")),
        out_specs=PartitionSpec(),
    )
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, jax.jit(mapped)(params, x), jax.jit(grads)(params, x))
