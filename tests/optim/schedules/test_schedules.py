"""Schedules equal PyTorch's schedulers step for step, and behave as pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.optim import schedules

STEPS = 40

CASES = [
    (schedules.constant(0.5, 1.0 / 3, 5), "ConstantLR", {}),
    (schedules.constant(0.5, 0.2, 7), "ConstantLR", {"factor": 0.2, "total_iters": 7}),
    (schedules.linear(0.5), "LinearLR", {}),
    (
        schedules.linear(0.5, 0.9, 0.1, 13),
        "LinearLR",
        {"start_factor": 0.9, "end_factor": 0.1, "total_iters": 13},
    ),
    (schedules.cosine(0.5, 15), "CosineAnnealingLR", {"T_max": 15}),
    (schedules.cosine(0.5, 7, 0.1), "CosineAnnealingLR", {"T_max": 7, "eta_min": 0.1}),
    (schedules.exponential(0.5, 0.9), "ExponentialLR", {"gamma": 0.9}),
    (schedules.step(0.5, 6, 0.3), "StepLR", {"step_size": 6, "gamma": 0.3}),
]


def reference(name, options, lr=0.5, steps=STEPS):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(values)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[1]}-{c[2]}")
def test_equal_to_pytorch(case, x64):
    schedule, name, options = case
    ours = jax.jit(jax.vmap(schedule))(jnp.arange(STEPS))
    # PyTorch accumulates rounding from step to step; these are closed forms.
    np.testing.assert_allclose(ours, reference(name, options), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[1]}-{c[2]}")
def test_takes_numbers_and_arrays_and_gives_strong_floats(case):
    schedule = case[0]
    value = schedule(3)
    assert value.dtype == jnp.float32
    assert not value.weak_type
    np.testing.assert_allclose(value, schedule(jnp.int32(3)), rtol=1e-6)


def test_warmup_cosine_agrees_with_optax():
    optax = pytest.importorskip("optax")
    ours = jax.vmap(schedules.warmup_cosine(0.5, 5, 30, 0.1, 0.05))(jnp.arange(STEPS))
    theirs = optax.warmup_cosine_decay_schedule(0.1, 0.5, 5, 30, 0.05)
    # Both compute in float32.
    np.testing.assert_allclose(ours, [theirs(t) for t in range(STEPS)], rtol=1e-5)


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="warmup_steps=5, total_steps=5"):
        schedules.warmup_cosine(1.0, 5, 5)
    with pytest.raises(ValueError, match="T_max"):
        schedules.cosine(1.0, 0)
    with pytest.raises(ValueError, match="step_size"):
        schedules.step(1.0, 0)
    with pytest.raises(ValueError, match="total_iters"):
        schedules.linear(1.0, total_iters=0)
