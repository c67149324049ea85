"""Replicas that train alone and meet: against loops over replicas, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from benchmarks.collectives import compiled_collectives, lowered_collectives
from funcnet import functional as F
from funcnet import nn, optim, parallel, training
from funcnet.checkpoint import Checkpointer

DEVICES, ROWS = 4, 8


@pytest.fixture
def mesh():
    return parallel.mesh(data=-1)


@pytest.fixture
def start(rng):
    return {"w": jnp.asarray(rng.standard_normal((3, 2)), jnp.float32)}


@pytest.fixture
def batches(rng):
    x = rng.standard_normal((7, ROWS, 3)).astype(np.float32)
    y = rng.standard_normal((7, ROWS, 2)).astype(np.float32)
    return list(zip(x, y, strict=True))


def loss(params, x, y):
    return jnp.square(x @ params["w"] - y).mean()


def step_of(optimizer, gradient=None):
    gradient = gradient or fn.value_and_grad(loss)

    def step(run, x, y):
        params, state = run
        value, grads = gradient(params, x, y)
        updates, state = optimizer.update(grads, state, params)
        return (optim.apply_updates(params, updates), state), {"loss": value}

    return step


def replicas_of(optimizer, start, mesh):
    return parallel.make_replicas((start, optimizer.init(start)), mesh)


def trained(optimizer, start, batches, mesh):
    """The weights of all replicas after each step."""
    step = jax.jit(parallel.local_step(step_of(optimizer), mesh), donate_argnums=0)
    run, found = replicas_of(optimizer, start, mesh), []
    for x, y in batches:
        run, _ = step(run, x, y)
        found.append(np.asarray(run[0]["w"]))
    return found


def plainly_trained(optimizer, start, batches):
    step, run, found = jax.jit(step_of(optimizer)), (start, optimizer.init(start)), []
    for x, y in batches:
        run, _ = step(run, x, y)
        found.append(np.asarray(run[0]["w"]))
    return found


def numpy_gradient(w, x, y):
    return 2 * x.T @ (x @ w - y) / y.size


def diloco_in_numpy(w, batches, every, lr, outer_lr, momentum):
    """Algorithm 1 of the paper with plain descent inside, and Nesterov's momentum outside."""
    anchor, velocity, found = w.astype(np.float64), 0.0, []
    replicas = [anchor] * DEVICES
    for number, (x, y) in enumerate(batches, 1):
        parts = zip(np.split(x, DEVICES), np.split(y, DEVICES), strict=True)
        replicas = [
            p - lr * numpy_gradient(p, *own) for p, own in zip(replicas, parts, strict=True)
        ]
        if number % every == 0:
            delta = np.mean([anchor - p for p in replicas], 0)
            velocity = momentum * velocity + delta
            anchor = anchor - outer_lr * (delta + momentum * velocity)
            replicas = [anchor] * DEVICES
        found.append(np.stack(replicas))
    return found


@pytest.mark.parametrize("every", [1, 3])
def test_diloco_is_the_papers_algorithm(mesh, start, batches, every):
    found = trained(parallel.diloco(optim.sgd(0.2), every=every), start, batches, mesh)
    expected = diloco_in_numpy(np.asarray(start["w"]), batches, every, 0.2, 0.7, 0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)  # seven steps in float32
    for number, replicas in enumerate(found, 1):
        apart = np.abs(replicas - replicas[0]).max()
        # replicas go on from one place, to the last bit where it is far from where they were
        assert apart <= 1e-7 if number % every == 0 else apart > 1e-2


def test_meeting_with_a_step_of_one_is_the_mean_of_the_replicas(mesh, start, batches):
    """Local SGD."""
    optimizer = parallel.diloco(optim.sgd(0.2), optim.sgd(1.0), every=2)
    found = trained(optimizer, start, batches[:2], mesh)
    expected = diloco_in_numpy(np.asarray(start["w"]), batches[:2], 2, 0.2, 1.0, 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: parallel.diloco(optim.sgd(0.2), optim.sgd(1.0), every=1),
        lambda: optim.chain(parallel.average_gradients(), optim.sgd(0.2)),
    ],
    ids=["diloco", "average_gradients"],
)
def test_meeting_in_every_step_is_data_parallel_training(mesh, start, batches, make):
    found = trained(make(), start, batches, mesh)
    expected = plainly_trained(optim.sgd(0.2), start, batches)
    for replicas, one in zip(found, expected, strict=True):
        np.testing.assert_allclose(replicas, np.stack([one] * DEVICES), rtol=2e-6, atol=2e-6)


def test_any_optimizer_of_averaged_gradients_is_that_of_one_device(mesh, start, batches):
    inner = optim.chain(optim.clip_by_global_norm(0.5), optim.adamw(0.1))
    found = trained(optim.chain(parallel.average_gradients(), inner), start, batches, mesh)
    expected = plainly_trained(inner, start, batches)
    np.testing.assert_allclose(found[-1][0], expected[-1], rtol=1e-5, atol=1e-5)
    assert all((replicas == replicas[0]).all() for replicas in found)


def test_gradients_keep_their_kind(mesh, rng):
    """Narrow ones their dtype, complex ones both parts; constants stay, and some rows become all rows."""
    params = {"narrow": jnp.ones(3, jnp.bfloat16), "complex": jnp.ones(2, jnp.complex64)}
    params |= {"table": jnp.ones((5, 2)), "count": jnp.array(3), "frozen": jnp.ones(1)}
    real = rng.standard_normal((DEVICES, 2)).astype(np.float32)
    rows = np.arange(DEVICES)[:, None]

    def update(number):
        grads = {
            "narrow": jnp.full(3, number + 1, jnp.bfloat16),
            "complex": jnp.asarray(real * (1 + 2j))[number],
            "table": optim.RowSparse(jnp.asarray(rows)[number], jnp.ones((1, 2))),
            "count": jnp.array(0),
            "frozen": None,
        }
        average = parallel.average_gradients(reduce_dtype=jnp.bfloat16)
        return average.update(grads, (), params)[0]

    means = jax.jit(jax.vmap(update, axis_name="data"))(jnp.arange(DEVICES))
    assert means["narrow"].dtype == jnp.bfloat16
    assert (means["narrow"] == 2.5).all()
    # complex numbers travel as they are
    np.testing.assert_allclose(means["complex"][0], (real * (1 + 2j)).mean(0), rtol=1e-6)
    assert np.array_equal(means["table"][0][:, 0], [0.25] * DEVICES + [0])
    assert means["count"].dtype == jnp.int32
    assert means["frozen"] is None
    with pytest.raises(ValueError, match=r"call update\(grads, state, params\)"):
        jax.vmap(
            lambda i: parallel.average_gradients().update(optim.RowSparse(i, jnp.ones((1, 2))), ()),
            axis_name="data",
        )(rows)


def test_axes_may_be_explicit(start, batches):
    mesh = parallel.mesh(data=-1, explicit=True)
    optimizer = parallel.diloco(optim.sgd(0.2), every=2)
    with jax.set_mesh(mesh):
        found = trained(optimizer, start, batches[:2], mesh)
    expected = diloco_in_numpy(np.asarray(start["w"]), batches[:2], 2, 0.2, 0.7, 0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_devices_meet_in_a_branch_alone(mesh, start, batches):
    step = jax.jit(parallel.local_step(step_of(parallel.diloco(optim.adam(0.1), every=5)), mesh))
    run = replicas_of(parallel.diloco(optim.adam(0.1), every=5), start, mesh)
    found = compiled_collectives(step.lower(run, *batches[0]).compile().as_text())
    assert [c.bytes for c in found if c.in_branch] == [4 * 6]
    assert sum(c.bytes for c in found if not c.in_branch) == 4  # the loss, to be reported


@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: parallel.diloco(optim.sgd(0.2), every=1, reduce_dtype=dtype),
        lambda dtype: optim.chain(parallel.average_gradients(reduce_dtype=dtype), optim.sgd(0.2)),
    ],
    ids=["diloco", "average_gradients"],
)
def test_numbers_may_travel_in_sixteen_bits(mesh, start, batches, make):
    optimizer = make(jnp.bfloat16)
    step = jax.jit(parallel.local_step(step_of(optimizer), mesh))
    asked = lowered_collectives(step.trace(replicas_of(optimizer, start, mesh), *batches[0]))
    assert sorted((c.dtypes, c.bytes) for c in asked) == [(("bf16",), 12), (("f32",), 4)]
    found, exact = (
        trained(make(dtype), start, batches[:1], mesh) for dtype in (jnp.bfloat16, None)
    )
    error = np.abs(found[0] - exact[0]).max()
    # the step is rounded, to 2 times 2**-8 of itself, the parameters are not
    assert 0 < error < 2.0**-7 * 1.4 * np.abs(exact[0] - start["w"]).max()


def test_microbatches_inside_a_step(mesh, start, batches):
    optimizer = optim.chain(parallel.average_gradients(), optim.sgd(0.2))
    gradient = fn.value_and_grad(loss, microbatches=2, batched=(1, 2))
    step = jax.jit(parallel.local_step(step_of(optimizer, gradient), mesh))
    run = replicas_of(optimizer, start, mesh)
    compiled = compiled_collectives(step.lower(run, *batches[0]).compile().as_text())
    assert compiled
    assert not any(c.in_loop for c in compiled)
    run, metrics = step(run, *batches[0])
    expected = plainly_trained(optim.sgd(0.2), start, batches[:1])[0]
    np.testing.assert_allclose(run[0]["w"][0], expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(metrics["loss"], loss(start, *batches[0]), rtol=2e-6)


def net_and_objective():
    net = fn.functionalize(
        nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    )
    return net, training.supervised(net, F.mse_loss, inputs="x", targets="y")


def test_a_made_step_trains_is_saved_and_goes_on(mesh, batches, tmp_path):
    """An ordinary train step, traced once; what is loaded goes on with the same bits."""
    net, objective = net_and_objective()
    optimizer = parallel.diloco(optim.adamw(0.01), every=2)
    traces, make = [], training.make_train_step(objective, optimizer)
    run_of = lambda seed: parallel.make_replicas(
        training.TrainState.create(net, optimizer, jax.random.key(seed)), mesh
    )

    @jax.jit
    def step(run, batch):
        traces.append(batch)
        return parallel.local_step(make, mesh)(run, batch)

    given = [{"x": x, "y": y} for x, y in batches[:5]]
    run = run_of(0)
    for batch in given[:3]:
        run, metrics = jax.block_until_ready(step(run, batch))
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(3, run)
        loaded = checkpointer.latest().load(like=run_of(1))
    for batch in given[3:]:
        run, metrics = jax.block_until_ready(step(run, batch))
        loaded, again = jax.block_until_ready(step(loaded, batch))
        assert metrics["loss"] == again["loss"]
    bits = lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    assert all(
        np.array_equal(bits(a), bits(b))
        for a, b in zip(jax.tree.leaves(run), jax.tree.leaves(loaded), strict=True)
    )
    assert len(traces) == 1
    one = parallel.merge_replicas(run)
    assert int(one.step) == 5
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((one.params, one.state)))
    assert jax.tree.map(jnp.shape, one.params) == jax.tree.map(jnp.shape, net.init(one.key)[0])


def test_metrics_count_real_rows(mesh):
    valid = np.arange(ROWS) < 5

    def step(run, x, valid):
        mean = jnp.where(valid, x, 0).sum() / valid.sum().astype(float)
        return run, {"mean": mean, "count": valid.sum().astype(float)}

    local = parallel.local_step(step, mesh, weight=lambda x, valid: valid.sum())
    x = np.arange(ROWS, dtype=np.float32)
    _, metrics = jax.jit(local)(parallel.make_replicas(jnp.zeros(()), mesh), x, valid)
    assert metrics["mean"] == x[valid].mean()


# ---- replicas ------------------------------------------------------------------------------------


def test_merging_undoes_making(mesh):
    run = {
        "third": jnp.full(5, 1 / 3, jnp.float32),
        "half": jnp.ones((2, 3), jnp.bfloat16) / 3,
        "step": jnp.int32(7),
        "on": jnp.array([True, False]),
        "infinite": jnp.float32(jnp.inf),
        "number": 2.5,
    }
    replicas = parallel.make_replicas(run, mesh)
    assert all(len(leaf) == DEVICES for leaf in jax.tree.leaves(replicas))
    assert all(leaf.addressable_shards[0].data.shape[0] == 1 for leaf in jax.tree.leaves(replicas))
    merged = parallel.merge_replicas(replicas)
    assert jax.tree.structure(merged) == jax.tree.structure(run)
    assert all(np.array_equal(merged[k], run[k]) for k in run)
    assert all(merged[k].dtype == jnp.result_type(run[k]) for k in run)


@pytest.mark.parametrize("make", [jax.random.key, jax.random.PRNGKey])
def test_replicas_have_keys_of_their_own(mesh, make):
    keys = parallel.make_replicas({"key": make(0)}, mesh)["key"]
    drawn = [float(jax.random.uniform(keys[i])) for i in range(DEVICES)]
    assert len({*drawn}) == DEVICES


def test_replicas_stay_spread_over_other_axes():
    mesh = parallel.mesh(data=2, model=2)
    spread = NamedSharding(mesh, PartitionSpec(None, "model"))
    w = jax.device_put(jnp.ones((3, 4)), spread)
    replicas = parallel.make_replicas({"w": w}, mesh)
    assert replicas["w"].addressable_shards[0].data.shape == (1, 3, 2)
    optimizer = parallel.diloco(optim.sgd(0.1), every=2)
    step = lambda run, x: step_of(optimizer)(run, x, jnp.zeros((len(x), 4)))
    run = parallel.make_replicas(({"w": w}, optimizer.init({"w": w})), mesh)
    run, _ = jax.jit(parallel.local_step(step, mesh))(run, jnp.ones((4, 3)))
    assert run[0]["w"].addressable_shards[0].data.shape == (1, 3, 2)
    expected = 1 - 0.1 * numpy_gradient(np.ones((3, 4)), np.ones((4, 3)), np.zeros((4, 4)))
    np.testing.assert_allclose(run[0]["w"][1], expected, rtol=1e-6)


def test_another_number_of_replicas_goes_on(start, batches):
    optimizer = parallel.diloco(optim.adam(0.1), every=2)
    four, two = parallel.mesh(data=-1), parallel.mesh(data=-1, devices=jax.devices()[:2])
    run = replicas_of(optimizer, start, four)
    for mesh, pair in ((four, batches[:2]), (two, batches[2:4])):
        step = jax.jit(parallel.local_step(step_of(optimizer), mesh))
        for x, y in pair:
            run, metrics = jax.block_until_ready(step(run, x, y))
        run = parallel.merge_replicas(run)
        run = parallel.make_replicas(jax.device_get(run), two)
    assert jnp.isfinite(metrics["loss"])
    assert (run[0]["w"][0] == run[0]["w"][1]).all()


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [0, -1, 1.5, "often"])
def test_replicas_meet_after_a_whole_number_of_steps(every):
    with pytest.raises(ValueError, match="every must be a whole number"):
        parallel.diloco(optim.sgd(0.1), every=every)


@pytest.mark.parametrize(
    "make",
    [lambda: parallel.average_gradients(), lambda: parallel.diloco(optim.sgd(0.1), every=2)],
    ids=["average_gradients", "diloco"],
)
def test_outside_of_devices_there_is_nobody_to_tell(start, make):
    optimizer = make()
    with pytest.raises(ValueError, match=r"mesh axis 'data'.*parallel.local_step"):
        optimizer.update(start, optimizer.init(start), start)


@pytest.mark.parametrize(
    "make",
    [lambda: parallel.average_gradients(), lambda: parallel.diloco(optim.sgd(0.1), every=2)],
    ids=["average_gradients", "diloco"],
)
def test_gradients_that_jax_has_added_up_are_refused(mesh, start, batches, make):
    optimizer = make()

    def update(params, x, y):
        grads = fn.grad(loss)(params, x, y)
        return optimizer.update(grads, optimizer.init(params), params)[0]

    everywhere, rows = PartitionSpec(), PartitionSpec("data")
    mapped = jax.shard_map(
        update, mesh=mesh, in_specs=(everywhere, rows, rows), out_specs=everywhere
    )
    with pytest.raises(ValueError, match="JAX has added them up"):
        jax.eval_shape(mapped, start, *batches[0])


def test_other_mistakes(mesh, start, batches):
    optimizer = optim.sgd(0.1)
    step, run = step_of(optimizer), (start, optimizer.init(start))
    with pytest.raises(ValueError, match="the mesh has no such axis; it has data"):
        parallel.local_step(step, mesh, axis="replica")
    with pytest.raises(ValueError, match="the mesh has no such axis"):
        parallel.make_replicas(run, mesh, axis="replica")
    with pytest.raises(ValueError, match=r"parallel.make_replicas\(run, mesh\)"):
        parallel.local_step(step, mesh)(run, *batches[0])
    replicas = parallel.make_replicas(run, mesh)
    with pytest.raises(ValueError, match="4 devices divide"):
        parallel.local_step(step, mesh)(replicas, batches[0][0][:6], batches[0][1][:6])
    counted = lambda run, x: (run, {"count": jnp.int32(len(x))})
    with pytest.raises(TypeError, match=r"metrics holds count of dtype int32"):
        parallel.local_step(counted, mesh)(replicas, batches[0][0])
    with pytest.raises(TypeError, match="dtype of real floats"):
        parallel.average_gradients(reduce_dtype=int)
    optimizer = parallel.diloco(optim.sgd(0.1), every=2)
    with pytest.raises(ValueError, match="diloco reads the parameters"):
        optimizer.update(start, optimizer.init(start))
