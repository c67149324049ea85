"""Skipped steps, averages, 16 bits, and all wrappers under jit, vmap and donation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from tests.optim import problem
from tests.sampling import sampled
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


DECAYS = {
    "number": (0.9, lambda swa: {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.9)}),
    "number, one by one": (0.9, lambda swa: {"avg_fn": swa.get_ema_avg_fn(0.9)}),
    "mean": (None, lambda swa: {}),
    "mean, by name": (None, lambda swa: {"multi_avg_fn": swa.get_swa_multi_avg_fn()}),
    "schedule": (
        optim.schedules.ema_decay(0.6, 4.0),
        lambda swa: {
            "avg_fn": lambda a, p, n: a + (1 - min(0.6, (1 + int(n)) / (4.0 + int(n)))) * (p - a)
        },
    ),
}


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize(("start", "every"), [(0, 1), (1, 1), (4, 1), (0, 3), (3, 2), (20, 1)])
def test_averages_equal_pytorch(name, start, every, x64, request):
    sampled(request, (list(DECAYS).index(name) + start + every) % 3 == 0)
    torch = pytest.importorskip("torch")
    decay, options = DECAYS[name]
    params, noise = problem.make(10)
    _, state = problem.run(
        optim.average(optim.sgd(0.1), decay, start=start, every=every), params, noise
    )
    path, _ = problem.run(optim.sgd(0.1), params, noise)
    swa = torch.optim.swa_utils

    def module(step):
        values = params if step == 0 else {key: path[key][step - 1] for key in params}
        return torch.nn.ParameterDict({key: torch.tensor(value) for key, value in values.items()})

    average = swa.AveragedModel(module(min(start, 10)), **options(swa))
    if (
        decay is not None
    ):  # an exponential average begins with what it finds, a mean with the first it takes
        average.n_averaged += 1
    for step in range(start + every, 11, every):
        average.update_parameters(module(step))
    for key in params:
        expected = average.module[key].detach()
        # PyTorch's function of that name divides in float32
        rtol = 2e-7 if name == "mean, by name" else 1e-12
        np.testing.assert_allclose(state.average[key], expected, rtol=rtol)


@pytest.mark.parametrize("wrong", [{"decay": 1.5}, {"start": -1}, {"every": 0}, {"every": 1.5}])
def test_averages_that_cannot_be_taken(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        optim.average(optim.sgd(0.1), **wrong)


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


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: optim.accumulate(inner, 2),
        optim.average,
        lambda inner: optim.freeze(inner, "b"),
        lambda inner: optim.keep_masked(inner, {"b": np.ones(3, bool)}),
        optim.lookahead,
        optim.loss_scale,
        lambda inner: optim.mask(inner, "b"),
        optim.master_copy,
        optim.packed,
        optim.skip_nonfinite,
    ],
)
def test_what_is_no_optimizer_is_refused(wrap):
    for wrong, shown in ((optim.sgd, "sgd itself: call it"), (3, "int"), (PARAMS, "dict")):
        with pytest.raises(TypeError, match=rf"takes an optimizer first, .*; got {shown}"):
            wrap(wrong)
