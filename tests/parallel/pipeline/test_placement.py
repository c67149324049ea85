"""A pipelined model whose arrays lie where rules say: stages hold their blocks, spread further over other axes."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from funcnet import optim, parallel
from tests.parallel.pipeline.models import (
    MLPBlock,
    initialized,
    make_batch,
    pipelined,
)
from tests.parallel.pipeline.test_gradients import assert_close, value_and_grad

RULES = {
    "stages alone": ({"data": 2, "stage": 2}, {}, ("stage",)),
    "fsdp": (
        {"data": 2, "stage": 2},
        {"*.weight": parallel.fsdp(smallest=1)},
        ("stage", "data"),
    ),
    "tensor": (
        {"stage": 2, "model": 2},
        {"*.linear.weight": (None, "model")},
        ("stage", None, "model"),
    ),
}


def sharded(axes, rules):
    net, params = initialized(MLPBlock())
    divided = pipelined(net, axes, 4, batched=("mask",))
    return params, parallel.shard(divided, parallel.mesh(**axes), rules)


@pytest.fixture(scope="module")
def undivided():
    """A batch, and value and gradients of the whole model."""
    net, params = initialized(MLPBlock())
    batch = make_batch(np.random.default_rng(0), 8)
    (value, _), grads = jax.jit(value_and_grad("gpipe", net, None))(params, batch)
    return batch, value, grads


@pytest.mark.parametrize(
    ("name", "schedule"),
    [("stages alone", "gpipe"), ("fsdp", "gpipe"), ("fsdp", "1f1b"), ("tensor", "1f1b")],
)
def test_arrays_gradients_and_optimizer_state_lie_on_their_stages(
    name, schedule, undivided, request
):
    if name == "fsdp" and schedule == "gpipe" and request.config.getoption("--grid") != "full":
        pytest.skip("with --grid=full")
    axes, rules, place = RULES[name]
    params, divided = sharded(axes, rules)
    born, _ = divided.init(jax.random.key(0))
    weight = born["blocks"]["module"]["linear"]["weight"]
    assert weight.sharding.spec == PartitionSpec(*place)
    assert_close(born, params, 1e-6)  # the last bit depends on what XLA fuses
    batch, expected, expected_grads = undivided
    optimizer = parallel.shard_optimizer(optim.sgd(0.1, momentum=0.9), divided)
    both = value_and_grad(schedule, divided, lambda count: count)

    @jax.jit
    def step(params, opt_state, batch):
        (value, _), grads = both(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return value, grads, optim.apply_updates(params, updates), opt_state

    value, grads, moved, opt_state = step(born, optimizer.init(born), batch)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert_close(grads, expected_grads)
    shapes = {
        leaf.sharding.spec
        for tree in (moved, opt_state)
        for leaf in jax.tree.leaves(tree)
        if leaf.shape == weight.shape
    }
    assert shapes == {PartitionSpec(*place)}


# ---- what is refused


def test_stages_come_before_places():
    net, _ = initialized(MLPBlock())
    mesh = parallel.mesh(data=2, stage=2)
    with pytest.raises(ValueError, match=r"write parallel\.shard\(parallel\.pipeline\("):
        parallel.pipeline(parallel.shard(net, mesh, {}), mesh, "blocks", microbatches=2)


def test_one_mesh_for_both():
    net, _ = initialized(MLPBlock())
    divided = pipelined(net, {"stage": 4}, 2)
    with pytest.raises(ValueError, match="the stages of 'blocks' lie on another mesh"):
        parallel.shard(divided, parallel.mesh(data=4), {})


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("stage",), "uses the axis 'stage' twice"),
        (parallel.copies("data"), "stages of a pipeline, over 'stage' already"),
    ],
)
def test_the_axis_of_the_stages_is_taken(place, message):
    net, _ = initialized(MLPBlock())
    divided = pipelined(net, {"stage": 2, "data": 2}, 2)
    with pytest.raises(ValueError, match=message):
        parallel.shard(divided, parallel.mesh(stage=2, data=2), {"blocks*.linear.weight": place})
