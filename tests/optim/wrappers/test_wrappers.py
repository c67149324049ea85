"""Skipped steps, averages, 16 bits, and all wrappers under jit, vmap and donation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.optim import problem
from tests.tracing import CountingJit

PARAMS = {"w": jnp.ones((2, 2)), "b": jnp.zeros(3)}


def grads_of(value):
    return jax.tree.map(lambda p: jnp.full_like(p, value), PARAMS)


def test_bad_steps_are_skipped_and_counted():
    optimizer = optim.skip_nonfinite(optim.adam(0.1))
    step = CountingJit(optimizer.update)
    _, state = step(grads_of(1.0), optimizer.init(PARAMS))
    before = state.inner
    for count, bad in enumerate([jnp.nan, jnp.inf], start=1):
        grads = {**grads_of(1.0), "b": jnp.array([0.0, bad, 0.0])}
        updates, state = step(grads, state)
        assert int(state.skipped) == int(state.in_a_row) == count
        assert all(np.signbit(u).all() and not u.any() for u in jax.tree.leaves(updates))
    jax.tree.map(np.testing.assert_array_equal, state.inner, before)
    updates, state = step(grads_of(1.0), state)
    assert (int(state.skipped), int(state.in_a_row)) == (2, 0)
    assert float(updates["b"][0]) < 0
    assert step.traces == 1


@pytest.mark.parametrize("decay", [0.9, None])
def test_averages_equal_pytorch(decay, x64):
    torch = pytest.importorskip("torch")
    params, noise = problem.make(10)
    ours = optim.average(optim.sgd(0.1), decay, start=0 if decay is None else 1)
    _, state = problem.run(ours, params, noise)
    path, _ = problem.run(optim.sgd(0.1), params, noise)
    swa = torch.optim.swa_utils
    module = torch.nn.ParameterDict({n: torch.tensor(p) for n, p in params.items()})
    average = swa.AveragedModel(
        module, multi_avg_fn=None if decay is None else swa.get_ema_multi_avg_fn(decay)
    )
    for k in range(10):
        for name in params:
            module[name].data = torch.tensor(path[name][k])
        average.update_parameters(module)
    for name in params:
        expected = average.module[name].detach()
        np.testing.assert_allclose(state.average[name], expected, rtol=1e-12)


def test_master_copies_let_small_steps_add_up():
    optimizer = optim.master_copy(optim.sgd(1e-3))
    params = {"w": jnp.ones(4, jnp.bfloat16), "wide": jnp.ones(2)}
    state = optimizer.init(params)

    @CountingJit
    def step(params, state):
        grads = jax.tree.map(jnp.ones_like, params)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state

    for _ in range(100):
        params, state = step(params, state)
        rounded = state.master["w"].astype(jnp.bfloat16)
        np.testing.assert_array_equal(params["w"], rounded)
    np.testing.assert_allclose(state.master["w"], 0.9, rtol=1e-5)
    np.testing.assert_allclose(params["wide"], 0.9, rtol=1e-5)
    assert state.master["w"].dtype == jnp.float32
    assert step.traces == 1


def test_loss_scale_adapts_as_pytorch_does():
    optimizer = optim.loss_scale(
        optim.sgd(1.0), init_scale=1024.0, growth_interval=3, growth_factor=4.0
    )
    step = jax.jit(optimizer.update)
    state = optimizer.init({"w": jnp.zeros(1, jnp.float16)})
    scales = []
    # By hand from the documentation of torch.amp.GradScaler: three good steps grow the scale,
    # an overflow halves it and starts the count anew.
    for good in [1, 1, 0, 1, 1, 1, 1, 0]:
        grad = jnp.full(1, 2.0 if good else jnp.inf, jnp.float16)
        updates, state = step({"w": grad}, state)
        scales.append(float(state.scale))
        assert bool(jnp.isfinite(updates["w"]).all())
    assert scales == [1024, 1024, 512, 512, 512, 2048, 2048, 1024]
    assert int(state.skipped) == 2
    assert float(optim.scale_loss(state, jnp.float16(2.0))) == 2048
    updates, _ = step({"w": jnp.full(1, 2048.0, jnp.float16)}, state)
    np.testing.assert_allclose(updates["w"], -2.0)


def test_lookahead_and_wrappers_survive_jit_vmap_and_donation():
    inner = optim.adam(0.1)
    wrappers = [
        optim.lookahead(inner),
        optim.average(inner),
        optim.skip_nonfinite(inner),
        optim.accumulate(inner, 2),
        optim.master_copy(inner),
        optim.loss_scale(inner),
        optim.packed(inner),
        optim.freeze(inner, "b"),
    ]
    stacked = jax.tree.map(lambda p: jnp.stack([p, p]), PARAMS)
    for optimizer in wrappers:

        def whole(params, state, optimizer=optimizer):
            updates, state = optimizer.update(params, state, params)
            return optim.apply_updates(params, updates), state

        step = CountingJit(jax.vmap(whole), donate_argnums=(0, 1))
        params = jax.tree.map(jnp.copy, stacked)
        state = jax.vmap(optimizer.init)(params)
        for _ in range(2):
            params, state = step(params, state)
        assert step.traces == 1
        lr = optim.hyperparams(state)["lr"]
        np.testing.assert_allclose(lr, 0.1, rtol=1e-6)
