"""Schedules equal PyTorch's schedulers step for step, and behave as pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from funcnet.optim import schedules
from tests.tracing import CountingJit

STEPS = 40

# Our schedule, then PyTorch's class and options; a base of 0.5 everywhere.
CASES = [
    (schedules.constant(0.5), "ConstantLR", {}),
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
    (
        schedules.multi_step(0.5, [20, 3, 3, 11], 0.4),
        "MultiStepLR",
        {"milestones": [20, 3, 3, 11], "gamma": 0.4},
    ),
    (schedules.polynomial(0.5), "PolynomialLR", {}),
    (schedules.polynomial(0.5, 17, 2.5), "PolynomialLR", {"total_iters": 17, "power": 2.5}),
    (schedules.lambda_(0.5, lambda t: 0.9**t), "LambdaLR", {"lr_lambda": lambda t: 0.9**t}),
    (
        schedules.multiplicative(0.5, lambda t: 1 - 1 / (t + 3)),
        "MultiplicativeLR",
        {"lr_lambda": lambda t: 1 - 1 / (t + 3)},
    ),
    (schedules.cosine_warm_restarts(0.5, 7), "CosineAnnealingWarmRestarts", {"T_0": 7}),
    (
        schedules.cosine_warm_restarts(0.5, 3, 2, 0.1),
        "CosineAnnealingWarmRestarts",
        {"T_0": 3, "T_mult": 2, "eta_min": 0.1},
    ),
    (
        schedules.cosine_warm_restarts(0.5, 1, 3),
        "CosineAnnealingWarmRestarts",
        {"T_0": 1, "T_mult": 3},
    ),
]

CYCLIC = [
    {"step_size_up": 5},
    {"step_size_up": 4, "step_size_down": 7, "mode": "triangular2"},
    {"step_size_up": 6, "mode": "exp_range", "gamma": 0.9},
    {"step_size_up": 3, "scale_fn": lambda x: 1 / (5 ** (x * 0.1)), "scale_mode": "iterations"},
    {"step_size_up": 3, "scale_fn": lambda x: 0.5**x, "scale_mode": "cycle"},
]

ONE_CYCLE = [
    {"total_steps": STEPS},
    {"epochs": 4, "steps_per_epoch": 10, "pct_start": 0.4, "anneal_strategy": "linear"},
    {"total_steps": STEPS + 3, "three_phase": True, "div_factor": 5.0, "final_div_factor": 10.0},
]


def name(case):
    return f"{case[1]}-{','.join(case[2])}" if isinstance(case, tuple) else ",".join(case)


def trace(make_scheduler, lr=0.5, steps=STEPS, momentum=False):
    """Return the rates (and momenta) that PyTorch's scheduler sets, step by step."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr, momentum=0.9)
    scheduler = make_scheduler(torch.optim.lr_scheduler, optimizer)
    rows = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        rows.append((group["lr"], group["momentum"]))
        optimizer.step()
        scheduler.step()
    table = np.array(rows)
    return (table[:, 0], table[:, 1]) if momentum else table[:, 0]


def assert_equal(schedule, expected):
    # PyTorch accumulates rounding from step to step; these are closed forms.
    ours = schedules.values(schedule, len(expected))
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_equal_to_pytorch(case, x64):
    schedule, theirs, options = case
    assert_equal(schedule, trace(lambda lib, o: getattr(lib, theirs)(o, **options)))


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 7, 50])
def test_swa_equals_pytorch(strategy, epochs, x64):
    torch = pytest.importorskip("torch")
    options = {"swa_lr": 0.05, "anneal_epochs": epochs, "anneal_strategy": strategy}
    expected = trace(lambda lib, o: torch.optim.swa_utils.SWALR(o, **options))
    # PyTorch divides by what is left of the way, which is small near its end
    ours = schedules.values(schedules.swa(0.5, **options), STEPS)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    # what another schedule left is moved on
    both = schedules.chained([schedules.exponential(0.5, 0.9), schedules.swa(0.5, **options)])
    theirs = trace(
        lambda lib, o: lib.ChainedScheduler(
            [lib.ExponentialLR(o, 0.9), torch.optim.swa_utils.SWALR(o, **options)]
        )
    )
    np.testing.assert_allclose(schedules.values(both, STEPS), theirs, rtol=1e-9)


@pytest.mark.parametrize("options", CYCLIC, ids=name)
def test_cyclic_equals_pytorch_with_momentum(options, x64):
    rates, momenta = trace(lambda lib, o: lib.CyclicLR(o, 0.1, 0.7, **options), momentum=True)
    assert_equal(schedules.cyclic(0.1, 0.7, **options), rates)
    assert_equal(schedules.cyclic(0.9, 0.8, **options), momenta)


@pytest.mark.parametrize("options", ONE_CYCLE, ids=name)
def test_one_cycle_equals_pytorch_with_momentum(options, x64):
    rates, momenta = trace(lambda lib, o: lib.OneCycleLR(o, 0.7, **options), momentum=True)
    assert_equal(schedules.one_cycle(0.7, **options), rates)
    shared = {k: v for k, v in options.items() if "div" not in k}
    assert_equal(schedules.one_cycle_momentum(**shared), momenta)


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"patience": 1, "factor": 0.5, "cooldown": 2, "threshold": 0.05},
        {"patience": 0, "mode": "max", "threshold": 0.1, "threshold_mode": "abs"},
        {"patience": 1, "mode": "max", "threshold": 0.2, "min_lr": 0.02},
        {"patience": 0, "factor": 0.5, "eps": 0.1, "threshold_mode": "abs"},
    ],
    ids=name,
)
def test_reduce_on_plateau_equals_pytorch(options, x64, rng):
    torch = pytest.importorskip("torch")
    values = np.abs(np.linspace(2, 1, 30) + 0.3 * rng.normal(size=30))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **options)
    expected = []
    for value in values:
        scheduler.step(value)
        expected.append(optimizer.param_groups[0]["lr"])
    plateau = schedules.reduce_on_plateau(**options)

    def body(state, value):
        state = plateau.update(state, value)
        return state, state.lr

    state, ours = jax.jit(lambda v: jax.lax.scan(body, plateau.init(0.5), v))(values)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert len(set(expected)) > 1
    np.testing.assert_allclose(state.best, scheduler.best)


def test_plateau_drives_an_optimizer_without_recompiling():
    optimizer, plateau = optim.sgd(1.0), schedules.reduce_on_plateau(factor=0.5, patience=0)
    opt_state, rates = optimizer.init(jnp.ones(1)), plateau.init(1.0)
    step = CountingJit(optimizer.update)
    seen = []
    for value in (1.0, 1.0, 1.0):
        rates = plateau.update(rates, value)
        opt_state = optim.with_hyperparams(opt_state, lr=rates.lr)
        updates, opt_state = step(jnp.ones(1), opt_state)
        seen.append(float(updates[0]))
    assert seen == [-1.0, -0.5, -0.25]
    assert step.traces == 1


ALL = [
    *[case[0] for case in CASES],
    schedules.cyclic(0.1, 0.7, 3, 4, "triangular2"),
    schedules.one_cycle(0.7, STEPS, three_phase=True),
    schedules.one_cycle_momentum(STEPS),
    schedules.warmup_cosine(0.5, 5, 30, 0.1, 0.05),
    schedules.warmup_stable_decay(0.5, 5, 7, 30, shape="sqrt"),
    schedules.inverse_sqrt(0.5, 5),
    schedules.piecewise([0.5, 0.1], [10]),
    schedules.chained([schedules.step(0.5, 6), schedules.cosine(0.5, 9, 0.1)]),
    schedules.chained([schedules.step(0.5, 6), schedules.constant(0.5, 0.3, 8)]),
    schedules.sequential([schedules.constant(0.5, 0.9), schedules.cosine(0.5, 20)], [10]),
]


@pytest.mark.smoke
def test_takes_numbers_and_arrays_and_gives_strong_floats():
    @jax.jit
    def everywhere(step):
        return [
            (schedule(step), schedule(3), jax.vmap(schedule)(jnp.arange(STEPS))) for schedule in ALL
        ]

    for position, (traced, plain, table) in enumerate(everywhere(jnp.int32(3))):
        assert traced.dtype == jnp.float32, position
        assert not traced.weak_type, position
        # The compiler may compute a constant in another order.
        np.testing.assert_allclose(traced, plain, rtol=1e-6, err_msg=str(position))
        np.testing.assert_allclose(traced, table[3], rtol=1e-6, err_msg=str(position))
        assert np.isfinite(table).all(), position


def test_agrees_with_optax():
    optax = pytest.importorskip("optax")
    pairs = [
        (
            schedules.warmup_cosine(0.5, 5, 30, 0.1, 0.05),
            optax.warmup_cosine_decay_schedule(0.1, 0.5, 5, 30, 0.05),
        ),
        (
            schedules.piecewise([0.5, 0.05, 0.01], [4, 20]),
            optax.piecewise_constant_schedule(0.5, {4: 0.1, 20: 0.2}),
        ),
        (
            schedules.warmup_stable_decay(0.5, 5, 10, 30, end=0.1),
            optax.join_schedules(
                [
                    optax.linear_schedule(0.0, 0.5, 5),
                    optax.constant_schedule(0.5),
                    optax.linear_schedule(0.5, 0.1, 10),
                ],
                [5, 20],
            ),
        ),
    ]
    for ours, theirs in pairs:
        with jax.numpy_dtype_promotion("standard"):
            expected = jax.vmap(theirs)(jnp.arange(STEPS))
        # Both compute in float32.
        np.testing.assert_allclose(schedules.values(ours, STEPS), expected, rtol=1e-5)


def test_inverse_sqrt_follows_the_paper():
    d, w = 512, 8
    t = np.arange(1, STEPS)
    paper = d**-0.5 * np.minimum(t**-0.5, t * w**-1.5)
    ours = schedules.values(schedules.inverse_sqrt((d * w) ** -0.5, w), STEPS)[1:]
    np.testing.assert_allclose(ours, paper, rtol=1e-6)


def test_bad_arguments_raise():
    for match, make in [
        ("warmup_steps=5, total_steps=5", lambda: schedules.warmup_cosine(1.0, 5, 5)),
        ("T_max", lambda: schedules.cosine(1.0, 0)),
        ("step_size", lambda: schedules.step(1.0, 0)),
        ("total_iters", lambda: schedules.linear(1.0, total_iters=0)),
        ("start_factor", lambda: schedules.linear(1.0, -0.1)),
        ("end_factor", lambda: schedules.linear(1.0, 0.1, 10.0)),
        ("factor", lambda: schedules.constant(1.0, 2.0, 5)),
        ("one milestone fewer", lambda: schedules.sequential([schedules.constant(1.0)], [3])),
        ("rise", lambda: schedules.sequential([schedules.constant(1.0)] * 3, [3, 2])),
        ("one boundary fewer", lambda: schedules.piecewise([1.0], [3])),
        ("total_steps, or epochs", lambda: schedules.one_cycle(1.0)),
        ("mode must be one of", lambda: schedules.cyclic(0.1, 1.0, mode="square")),
        ("below one", lambda: schedules.reduce_on_plateau(factor=1.0)),
        ("warmup_steps \\+ decay_steps", lambda: schedules.warmup_stable_decay(1.0, 5, 6, 10)),
    ]:
        with pytest.raises(ValueError, match=match):
            make()
