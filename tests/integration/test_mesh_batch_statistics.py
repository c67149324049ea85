"""Batch normalization of a batch that devices share out is that of the whole batch.

Under jit arrays are global, and any batch norm is; inside shard_map `SyncBatchNorm` is told the mesh axes.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import nn

WHOLE = PartitionSpec()
SHAPE = (16, 3, 5)


def step_of(module, axes=None):
    """Loss, running statistics and gradients; the sum over devices where each sees its part."""
    net = fn.functionalize(module)

    def loss(params, state, x):
        output, state = net.apply(params, state, x, train=True)
        total = jnp.sum(jnp.sin(output) * jnp.arange(1.0, 6.0))
        return total if axes is None else jax.lax.psum(total, axes), (state, output)

    def step(params, state, x):
        (value, (state, output)), (grads, of_x) = jax.value_and_grad(loss, (0, 2), has_aux=True)(
            params, state, x
        )
        return (value, state, grads), (output, of_x)

    return step


def arguments(rng, offset=100.0):
    """Parameters, statistics of earlier batches and a batch far from zero, whose parts differ."""
    net = fn.functionalize(nn.BatchNorm1d(3))
    params, state = net.init(jax.random.key(0))
    params = {name: x + rng.standard_normal(x.shape, np.float32) for name, x in params.items()}
    x = rng.standard_normal(SHAPE, np.float32) + np.arange(16, dtype=np.float32)[:, None, None]
    return params, state, x + np.float32(offset)


def close(found, wanted):
    # float32; a batch near 100 leaves five digits of its differences
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4), found, wanted)


@pytest.mark.parametrize("axes", [("data",), ("data", "model")], ids="-".join)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_inside_shard_map_as_on_one_device(rng, axes, momentum):
    mesh = fn.parallel.mesh(data=2, model=2)
    given, spec = arguments(rng), PartitionSpec(axes)
    parts = step_of(nn.SyncBatchNorm(3, momentum=momentum, axis_name=axes), axes)
    specs = (WHOLE, WHOLE, spec)
    spread = jax.jit(jax.shard_map(parts, mesh=mesh, in_specs=specs, out_specs=(WHOLE, spec)))
    close(spread(*given), jax.jit(step_of(nn.BatchNorm1d(3, momentum=momentum)))(*given))


@pytest.mark.parametrize("size", [4, 8, 16, 12, 6])
def test_under_jit_as_on_one_device(rng, size):
    """Whether each device has one example, many, or the batch is not shared out evenly."""
    mesh = fn.parallel.mesh(data=-1)
    params, state, x = arguments(rng)
    x = x[:size]
    step = jax.jit(step_of(nn.BatchNorm1d(3)))
    spec = PartitionSpec("data") if size % 4 == 0 else WHOLE
    everywhere = jax.device_put((params, state), NamedSharding(mesh, WHOLE))
    spread = step(*everywhere, jax.device_put(x, NamedSharding(mesh, spec)))
    close(spread, step(params, state, x))


def test_a_converted_model_trains_as_one_device_does(rng):
    """Three steps: what one step leaves in the running statistics goes into the next."""
    mesh = fn.parallel.mesh(data=-1)

    def model():
        return nn.Sequential(
            nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 5, 3, groups=1)
        )

    def train(model, axes, params, state, x):
        net = fn.functionalize(model)

        def loss(params, state, x):
            output, state = net.apply(params, state, x, train=True)
            value = jnp.mean(jnp.square(output - 1))
            return value if axes is None else jax.lax.pmean(value, axes), state

        for _ in range(3):
            (_, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state, x)
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        return params, state

    x = rng.standard_normal(SHAPE, np.float32)
    params, state = fn.functionalize(model()).init(jax.random.key(0))
    parts = nn.SyncBatchNorm.convert_sync_batchnorm(model(), "data")
    run = jax.shard_map(
        lambda *given: train(parts, "data", *given),
        mesh=mesh,
        in_specs=(WHOLE, WHOLE, PartitionSpec("data")),
        out_specs=WHOLE,
    )
    alone = jax.jit(lambda *given: train(model(), None, *given))(params, state, x)
    close(jax.jit(run)(params, state, x), alone)
