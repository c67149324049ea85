"""Plans of compiled steps on four devices: bytes, exchanges, names and warnings."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim, parallel


def shape(mesh, *sizes, spread=(), dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype, sharding=NamedSharding(mesh, PartitionSpec(*spread)))


def spread_like(mesh, tree, spread):
    def one(leaf):
        axes = spread(leaf)
        return shape(mesh, *leaf.shape, spread=axes, dtype=leaf.dtype)

    return jax.tree.map(one, tree)


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Linear(8, 16)
        self.blocks = nn.Repeat(nn.Sequential(nn.Linear(16, 16, bias=False), nn.ReLU()), 3)
        self.last = nn.Linear(16, 4)

    def __call__(self, x):
        return self.last(self.blocks(self.first(x)))


NET = fn.functionalize(Net())
OPTIMIZER = optim.sgd(0.1, momentum=0.9)
OBJECTIVE = fn.training.supervised(NET, F.mse_loss, inputs="x", targets="y")
STEP = jax.jit(fn.training.make_train_step(OBJECTIVE, OPTIMIZER), donate_argnums=0)
RUN = jax.eval_shape(
    lambda key: fn.training.TrainState.create(NET, OPTIMIZER, key), jax.random.key(0)
)
COUNT = 8 * 16 + 16 + 3 * 16 * 16 + 16 * 4 + 4


@pytest.fixture(scope="module")
def data_parallel():
    mesh = parallel.mesh(data=4)
    run = spread_like(mesh, RUN, lambda leaf: ())
    batch = {
        "x": shape(mesh, 32, 8, spread=("data",)),
        "y": shape(mesh, 32, 4, spread=("data",)),
    }
    return parallel.plan(STEP, run, batch)


def test_memory_is_told_by_argument(data_parallel):
    plan = data_parallel
    assert plan.devices == plan.mesh.size == 4
    assert plan.arguments["run.params"] == 4 * COUNT
    assert plan.arguments["run.opt_state"] >= 4 * COUNT
    assert plan.arguments["batch"] == 4 * (32 // 4) * (8 + 4)
    memory = plan.compiled.memory_analysis()
    assert sum(plan.arguments.values()) == memory.argument_size_in_bytes
    assert 0 < plan.aliased <= plan.outputs
    assert plan.total == sum(plan.arguments.values()) + plan.temporaries + plan.program + (
        plan.outputs - plan.aliased
    )


def test_data_parallel_reduces_gradients_and_nothing_else(data_parallel):
    plan = data_parallel
    assert {one.kind for one in plan.collectives} == {"all-reduce"}
    assert {one.axes for one in plan.collectives} == {("data",)}
    # gradients, and one or two numbers for the loss
    sizes = sum(one.bytes * one.count for one in plan.collectives)
    assert 4 * COUNT <= sizes <= 4 * COUNT + 16
    assert plan.sent == pytest.approx(2 * 3 / 4 * sizes, abs=8)
    looped = [one for one in plan.collectives if one.layer.startswith("blocks")]
    assert looped
    assert all(one.is_backward and one.line for one in looped)
    assert plan.warnings == ()


def test_the_table_is_readable(data_parallel):
    text = str(data_parallel)
    assert text.startswith("4 devices, data=4: bytes of one device\n  run.params ")
    assert "all-reduce" in text
    assert "blocks.module.0, backward" in text
    assert repr(data_parallel) == text


def test_the_compiled_step_is_the_step(data_parallel):
    mesh = parallel.mesh(data=4)
    whole, rows = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("data",)))
    run = fn.training.TrainState.create(NET, OPTIMIZER, jax.random.key(0))
    batch = jax.device_put({"x": jnp.ones((32, 8)), "y": jnp.ones((32, 4))}, rows)
    expected, _ = OBJECTIVE(run.params, run.state, batch, None, True)
    _, metrics = data_parallel.compiled(jax.device_put(run, whole), batch)
    # float32, another order of sums
    assert float(metrics["loss"]) == pytest.approx(float(expected), rel=1e-6)


def test_gathers_of_parameters_are_counted_in_loops():
    mesh = parallel.mesh(data=4)

    def step(weights, x):
        def block(x, weight):
            weight = jax.lax.with_sharding_constraint(weight, NamedSharding(mesh, PartitionSpec()))
            return jnp.tanh(x @ weight), None

        return jax.lax.scan(block, x, weights)[0]

    plan = parallel.plan(
        step,
        shape(mesh, 5, 16, 16, spread=(None, "data")),
        shape(mesh, 8, 16, spread=("data",)),
    )
    (gather,) = plan.collectives
    assert (gather.kind, gather.count, gather.bytes) == ("all-gather", 5, 16 * 16 * 4)
    assert plan.sent == 5 * 16 * 16 * 4 * 3 // 4
    assert "test_plan.py:" in gather.line
    assert plan.arguments == {"weights": 5 * 16 * 16, "x": 2 * 16 * 4}


# ---- warnings ------------------------------------------------------------------------------------


def test_gathered_activations_are_told():
    mesh = parallel.mesh(data=4)
    whole = NamedSharding(mesh, PartitionSpec())

    def step(params, x):
        return jax.lax.with_sharding_constraint(x, whole) @ params

    plan = parallel.plan(step, shape(mesh, 8, 8), shape(mesh, 64, 8, spread=("data",)))
    (warning,) = plan.warnings
    assert "all-gather of f32[64,8]" in warning
    assert "larger than any parameter" in warning
    assert warning in str(plan)


def test_activations_that_move_across_are_told():
    mesh = parallel.mesh(data=4)
    columns = NamedSharding(mesh, PartitionSpec(None, "data"))

    def step(params, x):
        return jax.lax.with_sharding_constraint(x, columns) * params

    plan = parallel.plan(step, shape(mesh, 8), shape(mesh, 64, 8, spread=("data",)))
    assert any("all-to-all" in warning for warning in plan.warnings)


def test_a_large_parameter_that_is_whole_beside_spread_ones_is_told():
    mesh = parallel.mesh(data=4)
    params = {"a": shape(mesh, 8, 8, spread=("data",)), "table": shape(mesh, 513, 129)}
    plan = parallel.plan(lambda params: params["a"].sum() + params["table"].sum(), params)
    (warning,) = plan.warnings
    assert "table of 258.5 KiB is whole on every device" in warning


def test_a_result_that_is_spread_in_another_way_is_told():
    mesh = parallel.mesh(data=4)
    params = {"a": shape(mesh, 8, 8, spread=("data",)), "b": shape(mesh, 8)}
    other = NamedSharding(mesh, PartitionSpec(None, "data"))

    def step(params):
        return {"a": jax.lax.with_sharding_constraint(params["a"], other), "b": params["b"]}, 0

    plan = parallel.plan(step, params)
    assert any("arguments that they follow: a;" in warning for warning in plan.warnings)


# ---- without a mesh, and what is no step ---------------------------------------------------------


def test_one_device_sends_nothing():
    plan = parallel.plan(lambda x, unused: x + 1, jnp.ones(4), jnp.ones(100))
    assert (plan.devices, plan.mesh, plan.collectives, plan.sent) == (1, None, (), 0)
    assert plan.arguments == {"x": 16}
    assert "devices send each other nothing" in str(plan)


def test_nones_and_static_arguments_are_no_arrays():
    step = jax.jit(lambda params, x, turns: (params["a"] * turns + x, params), static_argnums=2)
    plan = parallel.plan(step, {"a": jnp.ones(4), "b": None}, jnp.ones(4), 2)
    assert plan.arguments == {"params": 16, "x": 16}


def test_what_is_no_step_is_refused():
    with pytest.raises(TypeError, match="plan needs a step, a function or a jitted one; got int"):
        parallel.plan(3)
