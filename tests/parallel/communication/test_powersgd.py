"""PowerSGD against its formula in NumPy, and against PyTorch's own hook."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from benchmarks.collectives import lowered_collectives
from funcnet import nn, optim, parallel
from funcnet.checkpoint import Checkpointer
from funcnet.core.paths import flatten
from funcnet.module import functionalize

DEVICES = 4
SHAPES = {"matrix": (12, 10), "kernel": (8, 4, 3, 3), "bias": (12,), "small": (2, 2)}
THIN = ("kernel", "matrix")


@pytest.fixture
def params():
    return {name: jnp.zeros(shape) for name, shape in SHAPES.items()}


def gradients(rng, steps=3):
    """Each device's own gradients in each step, with a leading axis of devices."""
    return [
        {k: rng.standard_normal((DEVICES, *s)).astype(np.float32) for k, s in SHAPES.items()}
        for _ in range(steps)
    ]


@functools.cache
def compiled(rank, min_compression=1.0):
    """A transformation, and its update on all devices, which are an axis of vmap."""
    transformation = parallel.powersgd(rank, min_compression=min_compression)
    return transformation, jax.jit(jax.vmap(transformation.update, axis_name="data"))


def run(params, steps, *settings):
    """What comes out on every device, and the states, after each step."""
    transformation, update = compiled(*settings)
    state, found = transformation.init(params), []
    state = jax.tree.map(lambda x: jnp.stack([x] * DEVICES), state)
    for grads in steps:
        means, state = update(grads, state)
        found.append((means, state))
    return found


def orthonormal(matrix):
    return np.linalg.qr(matrix)[0]


def powersgd_in_numpy(start, shape, steps):
    """Algorithm 2 of the paper, in 64 bits: means, errors, and Q of each step."""
    q, error, found = np.float64(start), np.zeros((DEVICES, shape[0], np.prod(shape[1:]))), []
    for grads in steps:
        m = np.float64(grads).reshape(error.shape) + error
        p = orthonormal((m @ orthonormal(q)).mean(0))
        q = (m.mT @ p).mean(0)
        error = m - p @ q.T
        found.append(((p @ q.T).reshape(shape), error.reshape(DEVICES, *shape), q))
    return found


@pytest.mark.parametrize("rank", [1, 3])
def test_it_is_the_papers_algorithm(params, rng, rank):
    steps = gradients(rng)
    found = run(params, steps, rank)
    start = compiled(rank)[0].init(params).q
    assert sorted(start) == sorted(THIN)
    for name in THIN:
        expected = powersgd_in_numpy(start[name][0], SHAPES[name], [grads[name] for grads in steps])
        for (means, state), (mean, error, q) in zip(found, expected, strict=True):
            # float32, three steps of power iteration
            np.testing.assert_allclose(means[name][0], mean, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(state.error[name], error, rtol=1e-4, atol=1e-5)
            # a column of Q may have the other sign
            np.testing.assert_allclose(np.abs(state.q[name][0, 0]), np.abs(q), rtol=1e-4, atol=1e-4)
    for (means, state), grads in zip(found, steps, strict=True):
        for name in SHAPES:
            assert (means[name] == means[name][:1]).all(), "another mean on another device"
        for name in ("bias", "small"):
            np.testing.assert_allclose(means[name][0], grads[name].mean(0), rtol=1e-5, atol=1e-6)
        for name in THIN:
            assert (state.q[name] == state.q[name][:1]).all()
            assert np.abs(state.error[name] - state.error[name][:1]).max() > 0.1


def test_nothing_is_lost_for_good(params, rng):
    """The sum of what came out and what is remembered is the sum of all means."""
    steps = gradients(rng, 6)
    found = run(params, steps, 1)
    for name in THIN:
        out = sum(means[name][0] for means, _ in found)
        remembered = found[-1][1].error[name].mean(0)
        total = sum(grads[name].mean(0) for grads in steps)
        np.testing.assert_allclose(out + remembered, total, rtol=1e-5, atol=1e-5)


def test_full_rank_is_the_mean(params, rng):
    steps = gradients(rng, 2)
    for (means, state), grads in zip(run(params, steps, 99, 0.0), steps, strict=True):
        assert sorted(state.q) == ["kernel", "matrix", "small"]
        for name in SHAPES:
            np.testing.assert_allclose(means[name][0], grads[name].mean(0), rtol=1e-5, atol=1e-5)


def test_stacked_layers_are_matrices_of_their_own(rng):
    layers = [rng.standard_normal((DEVICES, 8, 6)).astype(np.float32) for _ in range(3)]
    stack = np.stack(layers, 1)
    together = parallel.powersgd(2, stacked="blocks.*", min_compression=1.0)
    alone = parallel.powersgd(2, min_compression=1.0)
    start = together.init({"blocks": {"w": stack[0]}})
    assert start.q["blocks.w"].shape == (3, 6, 2)
    on_devices = lambda update: jax.jit(jax.vmap(update, (0, None), axis_name="data"))
    means, state = on_devices(together.update)({"blocks": {"w": stack}}, start)
    one_layer = on_devices(alone.update)
    for i, layer in enumerate(layers):
        own = parallel.PowerSGDState({"w": jnp.zeros((8, 6))}, {"w": start.q["blocks.w"][i][None]})
        mean, one = one_layer({"w": layer}, own)
        np.testing.assert_allclose(means["blocks"]["w"][:, i], mean["w"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            state.error["blocks.w"][:, i], one.error["w"], rtol=1e-5, atol=1e-6
        )


def test_what_is_not_finite_is_passed_on_and_not_remembered(params, rng):
    grads = gradients(rng, 2)
    grads[1]["matrix"][2, 0, 0] = np.nan
    (_, before), (means, after) = run(params, grads, 1)
    assert np.isnan(means["matrix"]).any()
    assert np.array_equal(after.q["matrix"], before.q["matrix"])
    assert np.array_equal(after.error["matrix"], before.error["matrix"])
    assert not np.array_equal(after.error["kernel"], before.error["kernel"])


def test_zeros_do_not_stop_it(params, rng):
    """A layer that begins with zeros has no gradient at first, and no direction."""
    zeros = jax.tree.map(jnp.zeros_like, gradients(rng, 1)[0])
    steps = [zeros, *gradients(rng, 2)]
    found = run(params, steps, 2)
    assert not found[0][0]["matrix"].any()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    left = np.linalg.norm(found[1][1].error["matrix"].mean(0))
    assert left < 0.95 * np.linalg.norm(steps[1]["matrix"].mean(0))


def test_constants_and_frozen_parameters(rng):
    params = {"w": jnp.zeros((16, 16)), "frozen": jnp.zeros((16, 16)), "count": jnp.array(0)}
    transformation = parallel.powersgd(1)
    state = transformation.init(params)
    assert sorted(state.q) == ["frozen", "w"]
    grads = {"w": jnp.asarray(rng.standard_normal((DEVICES, 16, 16))), "frozen": None}
    grads = {**grads, "count": jnp.zeros(DEVICES, int)}
    means, new = jax.jit(jax.vmap(transformation.update, (0, None), axis_name="data"))(grads, state)
    assert means["frozen"] is None
    assert means["count"].dtype == jnp.int32
    assert np.array_equal(new.q["frozen"][0], state.q["frozen"])


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16], ids=["wide", "bfloat16"])
def test_thin_matrices_travel(dtype):
    """In a step on devices: (rows + columns) * rank numbers for each matrix, in place of rows * columns."""
    mesh, rank = parallel.mesh(data=-1), 2
    net = functionalize(nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 16)))
    params, state = net.init(jax.random.key(0))
    optimizer = optim.chain(parallel.powersgd(rank, reduce_dtype=dtype), optim.sgd(0.1))

    def step(run, x):
        loss = lambda p: jnp.square(net.apply(p, state, x)[0]).mean()
        value, grads = jax.value_and_grad(loss)(run[0])
        updates, opt_state = optimizer.update(grads, run[1])
        return (optim.apply_updates(run[0], updates), opt_state), {"loss": value}

    run = parallel.make_replicas((params, optimizer.init(params)), mesh)
    step = jax.jit(parallel.local_step(step, mesh), donate_argnums=0)
    x = jnp.ones((8, 32))
    asked = lowered_collectives(step.trace(run, x))
    weights = [p.shape for k, p in flatten(params).items() if k.endswith("weight")]
    numbers = sum((n + m) * rank for n, m in weights) + 64 + 16
    assert sum(c.bytes for c in asked) == numbers * (4 if dtype is None else 2) + 4
    first, metrics = step(run, x)
    _, later = step(first, x)
    assert later["loss"] < metrics["loss"]


def test_what_is_saved_goes_on_with_the_same_bits(params, rng, tmp_path):
    steps = gradients(rng, 2)
    (_, state), (means, _) = run(params, steps, 2)
    with Checkpointer(tmp_path) as checkpointer:
        checkpointer.save(1, state)
        loaded = checkpointer.latest().load(like=jax.tree.map(jnp.zeros_like, state))
    again, _ = compiled(2)[1](steps[1], loaded)
    assert all(np.array_equal(again[name], means[name]) for name in SHAPES)


def test_it_is_pytorchs(rng, tmp_path):
    """One process of PyTorch's: its own Q, after the first step, is what we go on from."""
    torch = pytest.importorskip("torch")
    hooks = pytest.importorskip("torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook")
    if not torch.distributed.is_gloo_available():
        pytest.skip("no gloo")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        model = torch.nn.Linear(10, 12)
        state = hooks.PowerSGDState(
            None, matrix_approximation_rank=3, start_powerSGD_iter=2, min_compression_rate=1.0
        )
        ddp = torch.nn.parallel.DistributedDataParallel(model)
        ddp.register_comm_hook(state, hooks.powerSGD_hook)
        inputs = rng.standard_normal((6, 4, 10)).astype(np.float32)
        seen = []
        for x in inputs:
            model.zero_grad()
            ddp(torch.from_numpy(x)).square().mean().backward()
            seen.append([p.grad.numpy().copy() for p in (model.weight, model.bias)])
            seen[-1].append({k: v.numpy().copy() for k, v in state.q_memory_dict.items()})
            seen[-1].append({k: v.numpy().copy() for k, v in state.error_dict.items()})
        weight, bias = (p.detach().numpy() for p in (model.weight, model.bias))
    finally:
        torch.distributed.destroy_process_group()

    def loss(params, x):
        return jnp.square(x @ params["weight"].T + params["bias"]).mean()

    params = {"weight": jnp.asarray(weight), "bias": jnp.asarray(bias)}
    transformation = parallel.powersgd(3, min_compression=1.0)
    update = jax.jit(jax.vmap(transformation.update, axis_name="data"))
    first = 2  # the first step that it compresses
    q = jnp.asarray(seen[first][2][0]).reshape(1, 1, 10, 3)
    exact = jax.grad(loss)(params, inputs[first])["weight"]
    error = (exact - seen[first][0])[None]
    own = parallel.PowerSGDState({"weight": error}, {"weight": q})
    for x, (of_weight, of_bias, *_) in zip(inputs[first + 1 :], seen[first + 1 :], strict=True):
        grads = jax.tree.map(lambda g: g[None], jax.grad(loss)(params, x))
        means, own = update(grads, own)
        # float32: QR and its sums are another library's
        np.testing.assert_allclose(means["weight"][0], of_weight, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(means["bias"][0], of_bias, rtol=1e-5, atol=1e-7)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rank": 0}, ValueError, "rank must be a whole number"),
        ({"rank": 1.5}, ValueError, "rank must be a whole number"),
        ({"min_compression": -1}, ValueError, "min_compression"),
        ({"reduce_dtype": "int8"}, TypeError, "dtype of real floats"),
    ],
)
def test_settings_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        parallel.powersgd(**options)


def test_mistakes_in_use(params):
    with pytest.raises(ValueError, match="matches no path"):
        parallel.powersgd(stacked="layers.*").init(params)
    transformation = parallel.powersgd()
    with pytest.raises(ValueError, match=r"powersgd communicates.*parallel.local_step"):
        transformation.update(params, transformation.init(params))
    with pytest.raises(TypeError, match="PowerSGDState"):
        transformation.update(params, ())
    with pytest.raises(TypeError, match="packed"):
        optim.packed(transformation)
    everywhere = PartitionSpec()
    mapped = jax.shard_map(
        lambda g: transformation.update(g, transformation.init(g))[0],
        mesh=parallel.mesh(data=-1),
        in_specs=everywhere,
        out_specs=everywhere,
    )
    with pytest.raises(ValueError, match="JAX has added them up"):
        jax.eval_shape(mapped, params)
