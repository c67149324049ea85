"""Value and gradient of a pipelined model are those of the model that is not divided."""

import re
from functools import cache, partial

import jax
import numpy as np
import pytest

from funcnet import parallel
from funcnet.core.paths import leaves_with_paths
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
    for path, one in leaves_with_paths(expected):
        other = dict(leaves_with_paths(found))[path]
        scale = max(1.0, float(np.abs(one).max()))
        np.testing.assert_allclose(other, one, rtol=0, atol=tolerance * scale, err_msg=path)


@pytest.fixture(scope="module")
def undivided():
    """For each block: a net, its params, a batch, value and gradients."""

    @cache
    def of(block):
        net, params = initialized(BLOCKS[block]())
        batch = make_batch(np.random.default_rng(0), ROWS)
        (value, _), grads = jax.jit(value_and_grad("gpipe", net, None))(params, batch)
        return net, params, batch, value, grads

    return of


@pytest.mark.parametrize(
    "number", range(len(PRODUCTS)), ids=lambda number: "-".join(map(str, PRODUCTS[number]))
)
def test_equal_to_the_model_that_is_not_divided(number, undivided, request):
    if request.config.getoption("--grid") != "full" and number % 22 != 18:
        pytest.skip("one product of 22; all with --grid=full")
    block, axes, microbatches, schedule = PRODUCTS[number]
    net, params, batch, value, grads = undivided(block)
    divided = pipelined(net, MESHES[axes], microbatches, batched=("mask",))
    if "data" in MESHES[axes]:
        sizes = {name: size for name, size in MESHES[axes].items() if name != "rows"}
        batch = jax.device_put(batch, parallel.batch_sharding(parallel.mesh(**sizes)))
    found = jax.jit(value_and_grad(schedule, divided, lambda count: count))(params, batch)
    (found_value, _), found_grads = found
    np.testing.assert_allclose(found_value, value, rtol=1e-5)
    assert_close(found_grads, grads)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_parts_of_rows_are_summed_once(schedule, undivided):
    """With rows= no microbatch waits for the other devices that hold the same stage."""
    net, params, batch, _, _ = undivided("mlp")
    axes = MESHES["stage=2,rows=2"]
    divided = pipelined(net, axes, 4, batched=("mask",))
    both = jax.jit(value_and_grad(schedule, divided, lambda count: count))
    text = both.lower(params, batch).compile().as_text()
    sums = [line for line in text.splitlines() if re.search(r" all-reduce(-start)?\(", line)]
    assert sums
    assert not [line for line in sums if "while/body" in line]
