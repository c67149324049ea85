"""The gradient that devices add up once: the numbers of the whole batch, whatever the parts."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from benchmarks.collectives import compiled_collectives, lowered_collectives
from funcnet import functional as F
from funcnet import nn, optim, parallel, training

ROWS, DEVICES = 16, 4


@pytest.fixture
def mesh():
    return parallel.mesh(data=-1)


@pytest.fixture
def params(rng):
    return {
        "a": jnp.asarray(rng.standard_normal((3, 8)), jnp.float32),
        "b": jnp.asarray(rng.standard_normal((8, 2)), jnp.float32),
        "steps": jnp.array(3),
    }


@pytest.fixture
def batch(rng):
    return {
        "x": rng.standard_normal((ROWS, 3)).astype(np.float32),
        "y": rng.standard_normal((ROWS, 2)).astype(np.float32),
        "valid": np.arange(ROWS) < 11,  # the last device has padding only
    }


def outputs(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


def mean_loss(params, batch):
    return jnp.square(outputs(params, batch["x"]) - batch["y"]).mean()


def sum_loss(params, batch):
    return jnp.square(outputs(params, batch["x"]) - batch["y"]).sum()


def masked_loss(params, batch):
    """The mean over real rows; NaN where there is none."""
    rows = jnp.square(outputs(params, batch["x"]) - batch["y"]).mean(-1)
    count = batch["valid"].sum().astype(jnp.float32)
    loss = jnp.where(batch["valid"], rows, 0).sum() / count
    return loss, {"largest": loss + 1, "count": count}


@functools.cache
def whole(loss, has_aux=False):
    """The gradient of the whole batch on one device."""
    return jax.jit(fn.value_and_grad(loss, has_aux=has_aux))


def close(a, b, rtol=2e-6):
    """Float32 sums of a few dozen terms in another order: the error is of their size, not of what they leave."""

    def check(x, y):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * max(1, np.abs(y).max()))

    jax.tree.map(check, a, b)


@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (mean_loss, {}),
        (sum_loss, {"reduction": "sum"}),
        (masked_loss, {"has_aux": True, "weight": lambda aux: aux["count"]}),
    ],
    ids=["mean", "sum", "masked"],
)
def test_it_is_the_gradient_of_the_whole_batch(mesh, params, batch, loss, options, microbatches):
    reduced = parallel.reduced_value_and_grad(loss, mesh, microbatches=microbatches, **options)
    found, grads = jax.jit(reduced)(params, batch)
    expected, wanted = whole(loss, has_aux="has_aux" in options)(params, batch)
    close(grads, wanted)
    assert grads["steps"].dtype == params["steps"].dtype
    if "has_aux" in options:
        close((found[0], found[1]["largest"]), (expected[0], expected[1]["largest"]))
    else:
        close(found, expected)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16], ids=["wide", "bfloat16"])
def test_devices_communicate_once_after_the_last_microbatch(mesh, params, batch, dtype):
    step = jax.jit(
        parallel.reduced_value_and_grad(mean_loss, mesh, microbatches=4, reduce_dtype=dtype)
    )
    compiled = compiled_collectives(step.lower(params, batch).compile().as_text())
    assert {c.kind for c in compiled} == {"all-reduce"}
    assert not any(c.in_loop for c in compiled)
    asked = lowered_collectives(step.trace(params, batch))
    gradients = [c for c in asked if c.bytes > 4]
    assert sorted(c.bytes for c in gradients) == [n * (4 if dtype is None else 2) for n in (16, 24)]
    assert {c.dtypes for c in gradients} == {("f32",) if dtype is None else ("bf16",)}


def test_without_it_devices_communicate_in_every_microbatch(mesh, params, batch):
    """What the function is there for; and the reader of programs sees loops."""
    batch = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))
    plain = jax.jit(fn.value_and_grad(mean_loss, microbatches=4))
    compiled = compiled_collectives(plain.lower(params, batch).compile().as_text())
    assert any(c.in_loop for c in compiled)


def test_sixteen_bits_on_the_wire_cost_two_roundings(mesh, params, batch):
    reduced = parallel.reduced_value_and_grad(mean_loss, mesh, reduce_dtype=jnp.bfloat16)
    _, grads = jax.jit(reduced)(params, batch)
    parts = jax.tree.map(lambda x: x.reshape(DEVICES, -1, *x.shape[1:]), batch)
    each = jax.jit(jax.vmap(fn.grad(mean_loss), (None, 0)))(params, parts)
    for name in ("a", "b"):
        exact = np.mean(each[name], 0)
        # half a unit of the eighth bit for each device's number, and for their sum
        bound = 2.0**-8 * (np.abs(each[name]).mean(0) + np.abs(exact) * (1 + 2.0**-8))
        error = np.abs(grads[name] - exact)
        assert (error <= bound + 1e-7).all()
        assert error.max() > 0


def test_each_device_and_each_part_draws_its_own_numbers(mesh, batch):
    def loss(weight, batch, key):
        noise = jax.random.normal(key, batch["x"].shape)
        return (weight * noise * batch["x"]).mean()

    key = jax.random.key(7)
    reduced = parallel.reduced_value_and_grad(loss, mesh, microbatches=2)
    _, grad = jax.jit(reduced)(jnp.ones(()), batch, key)
    rows = batch["x"].reshape(DEVICES, 2, 2, 3)  # part i of a device is its rows i, i + 2
    alone = jax.jit(fn.grad(loss))
    each = [
        alone(
            jnp.ones(()),
            {"x": rows[device, :, part]},
            jax.random.fold_in(jax.random.fold_in(key, device), part),
        )
        for device, part in itertools.product(range(DEVICES), range(2))
    ]
    close(grad, np.mean(each))


def batch_norm_net():
    net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))
    return net, *net.init(jax.random.key(0))


def loss_of(net):
    def loss(params, state, batch):
        out, state = net.apply(params, state, batch["x"], train=True)
        loss = jnp.square(out - batch["y"]).mean()
        return loss, (state, {"loss": loss})

    return loss


def test_statistics_are_averaged_over_devices_and_counts_are_kept(mesh, batch):
    net, params, state = batch_norm_net()
    loss = loss_of(net)
    reduced = parallel.reduced_value_and_grad(
        loss, mesh, has_aux=True, microbatches=2, threaded="state"
    )
    (_, (found, metrics)), grads = jax.jit(reduced)(params, state, batch)
    rows = jax.tree.map(lambda x: x.reshape(DEVICES, 2, 2, *x.shape[1:]), batch)
    states, losses, gradients = [], [], []
    alone = jax.jit(fn.value_and_grad(loss, has_aux=True))
    for device in range(DEVICES):
        own = state
        for part in range(2):
            piece = jax.tree.map(lambda x: x[device, :, part], rows)
            (value, (own, _)), grad = alone(params, own, piece)
            losses.append(value)
            gradients.append(grad)
        states.append(own)
    mean = lambda *leaves: np.mean(leaves, 0)
    close(found, jax.tree.map(mean, *states), 1e-5)
    close(metrics["loss"], np.mean(losses), 1e-5)
    close(grads, jax.tree.map(mean, *gradients), 1e-4)  # batch norm over two rows
    assert found["1"]["num_batches_tracked"] == 2
    assert found["1"]["num_batches_tracked"].dtype == state["1"]["num_batches_tracked"].dtype


def test_what_a_state_does_not_change_stays_the_same_number(mesh):
    state = {"third": jnp.float32(1 / 3), "mask": jnp.array([-jnp.inf, 0.0]), "on": jnp.array(True)}

    def loss(w, state, batch):
        return (w * batch).mean(), {**state, "on": ~state["on"]}

    reduced = parallel.reduced_value_and_grad(loss, mesh, has_aux=True, threaded="state")
    (_, new), _ = jax.jit(reduced)(jnp.ones(()), state, jnp.ones(4))
    assert new["third"] == state["third"]
    assert np.array_equal(new["mask"], state["mask"])
    assert not new["on"]


def test_a_step_written_by_hand_is_the_step_of_one_device(mesh, batch):
    net = fn.functionalize(nn.Linear(3, 2))
    optimizer = optim.adam(0.1)
    objective = training.supervised(net, F.mse_loss, inputs="x", targets="y")

    def loss(params, state, batch, key):
        loss, (metrics, state) = objective(params, state, batch, key, True)
        return loss, (state, metrics, objective.weight(batch).astype(float))

    gradient = parallel.reduced_value_and_grad(
        loss, mesh, has_aux=True, microbatches=2, threaded="state", weight=lambda aux: aux[2]
    )
    traces = []

    def step(run, batch):
        traces.append(run)
        key = jax.random.fold_in(run.key, run.step)
        (_, (state, metrics, _)), grads = gradient(run.params, run.state, batch, key)
        updates, opt_state = optimizer.update(grads, run.opt_state, run.params)
        params = optim.apply_updates(run.params, updates)
        return training.TrainState(params, state, opt_state, run.step + 1, run.key), metrics

    start = lambda: training.TrainState.create(net, optimizer, jax.random.key(0))
    many, one = start(), start()
    steps = jax.jit(step, donate_argnums=0), jax.jit(training.make_train_step(objective, optimizer))
    many = jax.device_put(many, NamedSharding(mesh, PartitionSpec()))
    for _ in range(3):
        many, metrics = jax.block_until_ready(steps[0](many, batch))
        one, wanted = steps[1](one, batch)
    assert len(traces) == 1
    close(metrics, wanted, 1e-5)
    close(many.params, one.params, 1e-5)


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16], ids=["wide", "bfloat16"])
def test_parameters_may_be_spread_over_another_axis(params, batch, dtype):
    mesh = parallel.mesh(data=2, model=2)
    specs = {
        "a": PartitionSpec(None, "model"),
        "b": PartitionSpec("model"),
        "steps": PartitionSpec(),
    }
    spread = {k: jax.device_put(x, NamedSharding(mesh, specs[k])) for k, x in params.items()}
    reduced = parallel.reduced_value_and_grad(mean_loss, mesh, microbatches=2, reduce_dtype=dtype)
    value, grads = jax.jit(reduced)(spread, batch)
    expected, wanted = whole(mean_loss)(params, batch)
    close(value, expected)
    close(grads, wanted, 2e-6 if dtype is None else 0.02)
    assert all(grads[k].sharding.is_equivalent_to(spread[k].sharding, 2) for k in ("a", "b"))


def test_two_axes_count_as_one(params, batch):
    mesh = parallel.mesh(data=2, fsdp=2)
    reduced = parallel.reduced_value_and_grad(mean_loss, mesh, axis=("data", "fsdp"))
    close(jax.jit(reduced)(params, batch), whole(mean_loss)(params, batch))


def test_axes_may_be_explicit(params, batch):
    mesh = parallel.mesh(data=-1, explicit=True)
    with jax.set_mesh(mesh):
        reduced = parallel.reduced_value_and_grad(mean_loss, mesh, microbatches=2)
        found = jax.jit(reduced)(params, batch)
    close(found, whole(mean_loss)(params, batch))


def test_a_models_loops_may_begin_with_what_is_the_same_everywhere(mesh, rng):
    net = fn.functionalize(nn.LSTM(3, 4, batch_first=True))
    params, state = net.init(jax.random.key(0))
    x = rng.standard_normal((8, 5, 3)).astype(np.float32)

    def loss(params, batch):
        (out, _), _ = net.apply(params, state, batch)
        total, _ = jax.lax.scan(
            lambda s, row: (s + row.sum(), None), jnp.zeros(()), jnp.moveaxis(out, 1, 0)
        )
        return total / len(batch)

    reduced = parallel.reduced_value_and_grad(loss, mesh, microbatches=2)
    close(jax.jit(reduced)(params, x), whole(loss)(params, x), 1e-5)


def test_some_parameters_alone(mesh, params, batch):
    reduced = parallel.reduced_value_and_grad(mean_loss, mesh, wrt="b")
    _, grads = jax.jit(reduced)(params, batch)
    close(grads["b"], whole(mean_loss)(params, batch)[1]["b"])
    assert grads["a"] is None


def counted(params, batch):
    return mean_loss(params, batch), {"right": batch["valid"].sum()}


def with_key(params, state, batch):
    return mean_loss(params, batch), state


@pytest.mark.parametrize(
    ("loss", "options", "error", "message"),
    [
        (mean_loss, {"axis": "model"}, ValueError, "the mesh has no such axis; it has data"),
        (
            mean_loss,
            {"microbatches": 3},
            ValueError,
            r"4 devices times 3 microbatches divide.*\(16,",
        ),
        (mean_loss, {"microbatches": 0}, ValueError, "microbatches"),
        (mean_loss, {"reduce_dtype": jnp.int8}, TypeError, "dtype of real floats"),
        (mean_loss, {"weight": lambda aux: 1.0}, ValueError, "has_aux=True"),
        (counted, {"has_aux": True}, TypeError, "right of dtype int32.*threaded"),
    ],
)
def test_what_cannot_be_is_refused(mesh, params, batch, loss, options, error, message):
    with pytest.raises(error, match=message):
        jax.eval_shape(parallel.reduced_value_and_grad(loss, mesh, **options), params, batch)


def test_a_random_key_is_no_state(mesh, params, batch):
    reduced = parallel.reduced_value_and_grad(with_key, mesh, has_aux=True, threaded="state")
    with pytest.raises(TypeError, match="random key in the state"):
        jax.eval_shape(reduced, params, {"key": jax.random.key(0)}, batch)
