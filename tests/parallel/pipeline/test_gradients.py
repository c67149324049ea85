"""Value and gradient of a pipelined model are those of the model that is not divided."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, parallel
from tests.parallel.pipeline.models import (
    BLOCKS,
    MESHES,
    PRODUCTS,
    initialized,
    language_loss,
    make_batch,
    pipelined,
)

ROWS = 16


def value_and_grad(schedule, net, weight):
    """The same call for every schedule."""
    if schedule == "gpipe":
        return jax.value_and_grad(partial(language_loss, net), has_aux=True)
    return parallel.pipeline_value_and_grad(
        language_loss, net, schedule=schedule, has_aux=True, weight=weight
    )


def assert_close(found, expected, tolerance=1e-5):
    """Leaf by leaf, relative to the largest number of the leaf: sums in another order, in 32 bits."""
    for path, one in fn.core.paths.leaves_with_paths(expected):
        other = dict(fn.core.paths.leaves_with_paths(found))[path]
        scale = max(1.0, float(np.abs(one).max()))
        np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * scale, err_msg=path)


@pytest.mark.parametrize("number", range(len(PRODUCTS)), ids=lambda n: "-".join(map(str, PRODUCTS[n])))
def test_equal_to_the_model_that_is_not_divided(number, rng, request):
    if request.config.getoption("--grid") != "full" and number % 13 != 5:
        pytest.skip("a sample of the products; all with --grid=full")
    block, axes, microbatches, schedule = PRODUCTS[number]
    net, params = initialized(BLOCKS[block]())
    batch = make_batch(rng, ROWS)
    (value, _), grads = jax.jit(value_and_grad("gpipe", net, None))(params, batch)
    divided = pipelined(net, MESHES[axes], microbatches, batched=("mask",))
    if "data" in MESHES[axes]:
        mesh = parallel.mesh(**MESHES[axes])
        rows = jax.sharding.NamedSharding(mesh, jax.P("data"))
        batch = jax.device_put(batch, rows)
    found = jax.jit(value_and_grad(schedule, divided, lambda count: count))(params, batch)
    (found_value, _), found_grads = found
    np.testing.assert_allclose(found_value, value, rtol=1e-5)
    assert_close(found_grads, grads)
