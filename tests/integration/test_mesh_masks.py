"""Random numbers belong to places of a global array: any number of devices draws the same ones.

Inside shard_map each device sees a part, and a key that all of them share draws other numbers for each.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

KEY = jax.random.key(7)


def of_layer(module, *shape, axis=0):
    """A function of a batch and a key, whose parameters are always the same."""
    net = fn.functionalize(module)
    params, state = net.init(jax.random.key(0), jnp.ones(shape))

    def call(x, key):
        output, _ = net.apply(params, state, x, key=key, train=True)
        return output[0] if isinstance(output, tuple) else output

    return call, shape, axis


def weights_of_attention(implementation, length=16):
    """All weights are equal and values are rows of one: the output is the weights, dropped or not."""

    def call(x, key):
        values = jnp.broadcast_to(jnp.eye(length), (*x.shape[:-2], length, length)) + 0 * x
        return F.scaled_dot_product_attention(
            0 * x, 0 * x, values, dropout_p=0.5, dropout_key=key, implementation=implementation
        )

    return call, (8, 2, length, length), 0


DRAWN = {
    "dropout": lambda: (partial(draw, F.dropout), (8, 6), 0),
    "dropout of half the bits": lambda: (lambda x, key: F.dropout(x, 0.3, key=key), (8, 7), 0),
    "dropout1d": lambda: (partial(draw, F.dropout1d), (8, 6, 5), 0),
    "dropout2d": lambda: (partial(draw, F.dropout2d), (8, 6, 2, 2), 0),
    "dropout3d": lambda: (partial(draw, F.dropout3d), (8, 6, 2, 1, 2), 0),
    "alpha_dropout": lambda: (partial(draw, F.alpha_dropout), (8, 6), 0),
    "feature_alpha_dropout": lambda: (partial(draw, F.feature_alpha_dropout), (8, 6, 2), 0),
    "rrelu": lambda: (lambda x, key: F.rrelu(-x, training=True, key=key), (8, 6), 0),
    "gumbel_softmax": lambda: (lambda x, key: F.gumbel_softmax(x, key=key), (8, 6), 0),
    "fractional_max_pool2d": lambda: (
        partial(fractional, F.fractional_max_pool2d),
        (8, 3, 9, 9),
        0,
    ),
    "plain attention": lambda: weights_of_attention("plain"),
    "chunked attention": lambda: weights_of_attention("chunked"),
    "MultiheadAttention": lambda: of_layer(Attends(), 8, 5, 4),
    "LSTM": lambda: of_layer(nn.LSTM(4, 6, num_layers=2, dropout=0.5), 5, 8, 4, axis=1),
    "GRU": lambda: of_layer(nn.GRU(4, 6, 2, dropout=0.5, batch_first=True), 8, 5, 4),
    "Repeat": lambda: of_layer(nn.Repeat(nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5)), 3), 8, 6),
    "Remat": lambda: of_layer(nn.Remat(nn.Dropout(0.5)), 8, 6),
}
"""Everything that draws numbers in a call: a function of a batch and a key, the shape, the batch's axis."""


class Attends(fn.Module):
    def __init__(self):
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)

    def __call__(self, x):
        return self.attention(x, x, x)


def draw(function, x, key):
    return function(x, 0.5, True, key=key)


def fractional(function, x, key):
    rising = jnp.arange(x[0].size, dtype=x.dtype).reshape(x.shape[1:])
    return function(x * rising, 2, output_size=4, key=key)


def spread_over(x, devices, axis):
    mesh = fn.parallel.mesh(data=-1, devices=jax.devices()[:devices])
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec(*(None,) * axis, "data")))


@pytest.mark.parametrize("name", DRAWN)
def test_numbers_do_not_depend_on_how_many_devices_there_are(name):
    function, shape, axis = DRAWN[name]()
    x = np.ones(shape, np.float32)
    alone = jax.jit(function)(jnp.asarray(x), KEY)
    assert len(np.unique(alone)) > 1
    # products of float32 may be summed in another order; a number that is dropped differs by far more
    same = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    same = np.testing.assert_array_equal if name in dir(F) and name != "gumbel_softmax" else same
    for devices in (2, 4) if name.startswith("dropout") else (4,):
        same(jax.jit(function)(spread_over(x, devices, axis), KEY), alone)


def in_parts(function, mesh, spec, key_spec=None, **settings):
    """The function of each device's part; its output is put together as the parts are."""
    specs = (spec, PartitionSpec() if key_spec is None else key_spec)
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=spec, **settings))


@pytest.mark.parametrize("name", DRAWN)
def test_inside_shard_map_each_part_of_a_batch_draws_its_own_numbers(name):
    function, shape, axis = DRAWN[name]()
    mesh = fn.parallel.mesh(data=2, model=2)
    spec = PartitionSpec(*(None,) * axis, "data")
    # over "model" nothing varies: were numbers different there, shard_map would refuse the output
    both = in_parts(function, mesh, spec)(np.ones(shape, np.float32), KEY)
    first, second = np.split(np.asarray(both), 2, axis)
    assert not np.allclose(first, second)


@pytest.mark.parametrize("axes", [("data",), ("model",), ("data", "model")])
def test_the_place_of_a_part_is_folded_into_the_key(axes):
    mesh = fn.parallel.mesh(data=2, model=2)
    x = jnp.ones((8, 5))
    drawn = in_parts(partial(draw, F.dropout), mesh, PartitionSpec(axes))(x, KEY)
    parts = jnp.split(x, 2 ** len(axes))
    alone = [draw(F.dropout, part, jax.random.fold_in(KEY, n)) for n, part in enumerate(parts)]
    np.testing.assert_array_equal(drawn, np.concatenate(alone))


def test_a_key_of_each_part_is_used_as_it_is():
    mesh = fn.parallel.mesh(data=-1)
    x, keys = jnp.ones((8, 5)), jax.random.split(KEY, 4)
    part = lambda x, keys: draw(F.dropout, x, keys[0])
    drawn = in_parts(part, mesh, PartitionSpec("data"), PartitionSpec("data"))(x, keys)
    alone = [draw(F.dropout, part, key) for part, key in zip(jnp.split(x, 4), keys, strict=True)]
    np.testing.assert_array_equal(drawn, np.concatenate(alone))


def test_equal_numbers_are_asked_for_with_a_key_that_varies():
    """What is equal on all devices, and JAX does not know it, as after `all_gather`, must stay equal."""
    mesh = fn.parallel.mesh(data=-1)

    def part(x, key):
        return draw(F.dropout, x, jax.lax.pcast(key, ("data",), to="varying"))

    drawn = in_parts(part, mesh, PartitionSpec("data"))(jnp.ones((8, 5)), KEY)
    for each in np.split(np.asarray(drawn), 4)[1:]:
        np.testing.assert_array_equal(each, drawn[:2])


def test_without_types_keys_are_folded_by_who_calls():
    mesh = fn.parallel.mesh(data=-1)
    run = partial(in_parts, mesh=mesh, spec=PartitionSpec("data"), check_vma=False)
    own = lambda x, key: draw(F.dropout, x, jax.random.fold_in(key, jax.lax.axis_index("data")))
    x = jnp.ones((8, 5))
    np.testing.assert_array_equal(
        run(own)(x, KEY), in_parts(partial(draw, F.dropout), mesh, PartitionSpec("data"))(x, KEY)
    )
    alike = np.split(np.asarray(run(partial(draw, F.dropout))(x, KEY)), 4)
    np.testing.assert_array_equal(alike[0], alike[1])


def test_gradients_meet_the_same_mask():
    mesh = fn.parallel.mesh(data=-1)
    part = lambda x, key: jax.grad(lambda x: draw(F.dropout, x, key).sum())(x)
    x = jnp.ones((8, 5))
    outputs = in_parts(partial(draw, F.dropout), mesh, PartitionSpec("data"))(x, KEY)
    np.testing.assert_array_equal(in_parts(part, mesh, PartitionSpec("data"))(x, KEY), outputs)
