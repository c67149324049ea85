"""A dynamic loss scale with what it is used with: optimizers around it and inside, meshes, checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim, training

KEY = jax.random.key(0)
BATCHES = [
    {"x": np.full((4, 4), 1 + number, np.float32), "y": np.arange(4) % 3} for number in range(6)
]
BAD = {1, 4}
"""The batches whose gradients overflow."""

INSIDE = {
    "sgd": lambda: optim.sgd(0.1),
    "clip": lambda: optim.chain(optim.clip_by_global_norm(0.5), optim.adam(0.1)),
    "accumulation": lambda: optim.accumulate(optim.adam(0.1), 2),
    "average": lambda: optim.average(optim.adam(0.1), 0.9),
    "skipping": lambda: optim.skip_nonfinite(optim.adam(0.1)),
}


def objective(params, state, batch, key, train):
    del key, train
    loss = F.cross_entropy(batch["x"] @ params["weight"], batch["y"]) * batch["factor"]
    return loss, ({"loss": loss}, {"seen": state["seen"] + 1})


def _run(opt_state):
    params, state = {"weight": jnp.ones((4, 3)) * 0.1}, {"seen": jnp.zeros(())}
    return training.TrainState(params, state, opt_state(params), jnp.zeros((), jnp.int32), KEY)


@pytest.mark.parametrize("name", INSIDE)
def test_optimizers_inside_never_meet_the_bad_steps(name):
    """The run is that of the good batches alone, without any scale."""
    scale, optimizer = training.dynamic_loss_scale(2.0**12), INSIDE[name]()
    run = _run(scale.wrap(optimizer).init)
    step = jax.jit(training.make_train_step(objective, optimizer, loss_scale=scale))
    right = _run(optimizer.init)
    plain = jax.jit(training.make_train_step(objective, optimizer))
    for number, batch in enumerate(BATCHES):
        factor = np.float32(np.inf if number in BAD else 1)
        run, _ = step(run, batch | {"factor": factor})
        if number not in BAD:
            right, _ = plain(right, batch | {"factor": factor})
    assert float(run.opt_state.scale) == 2.0**10
    assert int(run.opt_state.skipped) == len(BAD)
    assert float(run.state["seen"]) == len(BATCHES) - len(BAD)
    ours, theirs = (run.params, run.opt_state.inner), (right.params, right.opt_state)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)  # two programs round apart


def _mixed(scale):
    net = fn.mixed_precision(fn.functionalize(nn.Linear(4, 3)), jnp.float16)
    optimizer = optim.adam(0.1)
    goal = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    step = jax.jit(training.make_train_step(goal, optimizer, loss_scale=scale))
    return net, optimizer, step


@pytest.mark.skipif(len(jax.devices()) < 4, reason="needs four devices")
def test_on_a_mesh_all_devices_skip_together():
    """One row in four overflows: the scale is too large for it alone."""
    scale = training.dynamic_loss_scale(2.0**16)
    net, optimizer, step = _mixed(scale)
    mesh = fn.parallel.mesh(data=4, devices=jax.devices()[:4])
    spread = fn.parallel.batch_sharding(mesh)
    alone = training.TrainState.create(net, optimizer, KEY, loss_scale=scale)
    shared = training.TrainState.create(
        fn.parallel.shard(net, mesh, {"*": None}), optimizer, KEY, loss_scale=scale
    )
    for number, batch in enumerate(BATCHES):
        if number in BAD:
            batch = batch | {"x": batch["x"] * np.array([[1], [1], [1], [6e4]], np.float32)}
        alone, _ = step(alone, batch)
        shared, _ = step(shared, jax.device_put(batch, spread))
        assert float(alone.opt_state.scale) == float(shared.opt_state.scale)
    assert int(shared.opt_state.skipped) == int(alone.opt_state.skipped) >= len(BAD)
    for one, other in zip(
        jax.tree.leaves(shared.params), jax.tree.leaves(alone.params), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_a_checkpoint_between_a_bad_step_and_the_next(tmp_path):
    scale = training.dynamic_loss_scale(2.0**14, growth_interval=2)
    net, optimizer, step = _mixed(scale)
    make = lambda: training.TrainState.create(net, optimizer, KEY, loss_scale=scale)
    run = make()
    for number, batch in enumerate(BATCHES):
        run, _ = step(run, batch | {"x": batch["x"] * np.float32(6e4 if number in BAD else 1)})
        fn.checkpoint.save(tmp_path / str(number), run)
        again = fn.checkpoint.load(tmp_path / str(number), like=make())
        for one, other in zip(
            jax.tree.leaves(again.opt_state), jax.tree.leaves(run.opt_state), strict=True
        ):
            np.testing.assert_array_equal(one, other)
        run = again
    assert int(run.opt_state.skipped) == len(BAD)
    # grows after each two good steps, of which there are 0; 2, 3; 5
    assert float(run.opt_state.scale) == 2.0**13


@pytest.mark.parametrize("name", INSIDE)
def test_fit_takes_the_scale_with_each_optimizer(name):
    """It takes the steps that `make_train_step` makes, the skipped ones among them."""
    scale, optimizer = training.dynamic_loss_scale(2.0**17), INSIDE[name]()
    net = fn.mixed_precision(fn.functionalize(nn.Linear(4, 3)), jnp.float16)
    goal = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    start = training.TrainState.create(net, optimizer, KEY, loss_scale=scale)
    run, _ = training.fit(
        goal, optimizer, start, BATCHES, epochs=1, progress=False, loss_scale=scale
    )
    step = jax.jit(training.make_train_step(goal, optimizer, loss_scale=scale))
    right = start
    for batch in BATCHES:
        right, _ = step(right, batch)
    assert 0 < int(run.opt_state.skipped) < len(BATCHES)
    for one, other in zip(jax.tree.leaves(run), jax.tree.leaves(right), strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(one, other, rtol=1e-5)
