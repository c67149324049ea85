"""parallel.shard: arrays are born in parts, gathered where they are used, and stay where they lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim, parallel, training
from funcnet.module.sharding import initial_parts
from tests.parallel.rules.models import only_sampled
from tests.parallel.sharded_models import (
    INPUT,
    KEY,
    MESH,
    MODELS,
    SAMPLE,
    SMALL,
    Block,
    both,
    lies,
    same,
    value_and_grad,
)


@pytest.mark.parametrize("name", MODELS)
def test_a_sharded_model_is_the_same_model(request, name):
    only_sampled(request, name, SAMPLE)
    net, sharded = both(MODELS[name]())
    params, state = net.init(KEY)
    parts, left = sharded.init(KEY)
    same((parts, left), (params, state), atol=0, rtol=0)
    lies(parts, sharded.placement)
    assert any(any(spec) for spec in sharded.placement.specs.values())
    x = INPUT if name != "vmapped" else np.stack([INPUT] * 4)
    expected = value_and_grad(net)(params, state, x)
    found = value_and_grad(sharded)(parts, left, jax.device_put(x, parallel.batch_sharding(MESH)))
    same(found, expected)
    lies(found[1], sharded.placement)  # gradients come back in parts


# ---- born in parts -------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [1, 10**9], ids=["by each device", "by the host"])
def test_arrays_are_born_in_parts_with_the_same_bits(monkeypatch, large):
    monkeypatch.setattr(initial_parts, "LARGE", large)
    model = nn.Sequential(
        nn.Repeat(Block(), 3), nn.BatchNorm1d(8), nn.Linear(8, 12), nn.Embedding(8, 4)
    )
    net, sharded = both(model)
    expected = net.init(KEY)
    found = sharded.init(KEY)
    same(found, expected, atol=0, rtol=0)
    lies(found[0], sharded.placement)
    lies(found[1], sharded.placement)
    weight = found[0]["0"]["module"]["up"]["weight"]
    assert {part.data.shape for part in weight.addressable_shards} == {(3, 4, 8)}
    same(jax.jit(sharded.init)(KEY), expected, atol=0, rtol=0)


def test_no_device_ever_holds_the_whole_of_an_array(monkeypatch):
    """The program that draws a matrix needs a quarter of the memory of one that draws it on one device."""

    def of_one_device(init, shape, dtype, sizes, words):
        whole = jax.sharding.NamedSharding(MESH, jax.sharding.PartitionSpec())
        program = original(init, shape, dtype, sizes, whole)
        return program.lower(KEY, words).compile().memory_analysis().temp_size_in_bytes

    programs = []
    original = initial_parts._program.__wrapped__

    def noted(*args):
        program = original(*args)
        programs.append((program, args))
        return program

    monkeypatch.setattr(initial_parts, "_program", noted)
    for model in (
        nn.Linear(512, 2048, bias=False),
        nn.Repeat(nn.Linear(1024, 1024, bias=False), 2),
    ):
        sharded = parallel.shard(fn.functionalize(model), MESH, {"*": "fsdp"})
        sharded.init(KEY)
        program, args = programs.pop()
        _, shape, _, sizes, _ = args
        words = jax.ShapeDtypeStruct((max(sizes, default=1), 2), jnp.uint32)
        memory = program.lower(KEY, words).compile().memory_analysis()
        whole = int(np.prod((*sizes, *shape))) * 4
        assert memory.output_size_in_bytes == whole // 4
        assert memory.temp_size_in_bytes <= 0.26 * of_one_device(*args[:4], words)


def test_an_ensemble_of_inits():
    net, sharded = both(nn.Linear(8, 4))
    keys = jax.random.split(KEY, 4)
    params, _ = jax.vmap(sharded.init)(keys)
    same(params, jax.vmap(net.init)(keys)[0])
    outputs = jax.vmap(lambda p, x: sharded.apply(p, {}, x)[0], (0, None))(params, INPUT)
    assert outputs.shape == (4, 4, 4)


def test_lazy_layers_need_an_example():
    net = fn.functionalize(nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 4)))
    with pytest.raises(ValueError, match=r"shapes of 0.weight are learned"):
        parallel.shard(net, MESH, {"*": SMALL})
    sharded = parallel.shard(net, MESH, {"*": SMALL}, INPUT)
    params, state = sharded.init(KEY, INPUT)
    lies(params, sharded.placement)
    assert sharded.placement.specs["0.weight"]
    same(sharded.apply(params, state, INPUT)[0], net.apply(*net.init(KEY, INPUT), INPUT)[0])


# ---- step after step -----------------------------------------------------------------------------


@pytest.mark.parametrize("follows", [True, False], ids=["shard_optimizer", "by propagation"])
def test_everything_stays_where_it_lies_step_after_step(follows):
    model = nn.Sequential(Block(), nn.BatchNorm1d(8), nn.Linear(8, 4))
    net = parallel.shard(fn.functionalize(model), MESH, {"*": SMALL})
    optimizer = optim.adam(1e-2)
    if follows:
        optimizer = parallel.shard_optimizer(optimizer, net)
    run = training.TrainState.create(net, optimizer, KEY)
    before = jax.tree.leaves((run.params, run.state, run.opt_state.slots))
    objective = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    step = jax.jit(training.make_train_step(objective, optimizer), donate_argnums=0)
    shardings = [x.sharding for x in before]
    batch = jax.device_put({"x": INPUT, "y": np.arange(4)}, parallel.batch_sharding(MESH))
    for _ in range(3):
        run, _ = step(run, batch)
    after = jax.tree.leaves((run.params, run.state, run.opt_state.slots))
    for array, sharding in zip(after, shardings, strict=True):
        assert array.sharding.is_equivalent_to(sharding, array.ndim)


def test_batches_lie_over_the_axes_for_data():
    spec = jax.sharding.PartitionSpec
    assert parallel.batch_sharding(MESH).spec == spec("data")
    assert parallel.batch_sharding(parallel.mesh(data=2, fsdp=2)).spec == spec(("data", "fsdp"))
    assert parallel.batch_sharding(parallel.mesh(rows=4), "rows").spec == spec("rows")
    with pytest.raises(ValueError, match="no axis 'data'"):
        parallel.batch_sharding(parallel.mesh(model=4))


def test_an_fsdp_axis_comes_before_the_data_axis():
    net = parallel.shard(
        fn.functionalize(nn.Linear(8, 4)), parallel.mesh(data=2, fsdp=2), {"*": SMALL}
    )
    assert net.placement.specs["weight"] == jax.sharding.PartitionSpec(None, "fsdp")


@pytest.mark.parametrize(
    ("net", "mesh", "error", "message"),
    [
        (
            fn.functionalize(nn.Linear(3, 2)),
            parallel.mesh(explicit=True, data=-1),
            ValueError,
            "automatic axes",
        ),
        (fn.functionalize(nn.Linear(3, 2)), {"data": 4}, TypeError, "a mesh of devices"),
        (nn.Linear(3, 2), MESH, TypeError, "functionalize"),
    ],
)
def test_what_is_no_model_or_no_mesh_of_automatic_axes(net, mesh, error, message):
    with pytest.raises(error, match=message):
        parallel.shard(net, mesh, {})
