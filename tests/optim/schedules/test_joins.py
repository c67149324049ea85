"""Chained and sequential schedules equal PyTorch's, which apply each scheduler's recursive form."""

import jax
import numpy as np
import pytest

from funcnet.optim import schedules

STEPS = 50
BASE = 0.5


def shrinking(t):
    return 1 - 1 / (t + 3)


def wavy(t):
    return 0.9**t + 0.1


# Our factory (of the base and the options), PyTorch's class, the options of both.
PARTS = {
    "constant": (schedules.constant, "ConstantLR", {"factor": 0.2, "total_iters": 7}),
    "forever": (schedules.constant, "ConstantLR", {"factor": 0.2, "total_iters": 0}),
    "linear": (
        schedules.linear,
        "LinearLR",
        {"start_factor": 0.1, "end_factor": 0.6, "total_iters": 9},
    ),
    "to_zero": (
        schedules.linear,
        "LinearLR",
        {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 30},
    ),
    "exponential": (schedules.exponential, "ExponentialLR", {"gamma": 0.95}),
    "step": (schedules.step, "StepLR", {"step_size": 6, "gamma": 0.5}),
    "milestones": (
        schedules.multi_step,
        "MultiStepLR",
        {"milestones": [0, 9, 9, 31], "gamma": 0.4},
    ),
    "polynomial": (schedules.polynomial, "PolynomialLR", {"total_iters": 33, "power": 1.5}),
    "cosine": (schedules.cosine, "CosineAnnealingLR", {"T_max": 8, "eta_min": 0.05}),
    "cosine_1": (schedules.cosine, "CosineAnnealingLR", {"T_max": 1, "eta_min": 0.1}),
    "restarts": (
        schedules.cosine_warm_restarts,
        "CosineAnnealingWarmRestarts",
        {"T_0": 3, "T_mult": 2, "eta_min": 0.01},
    ),
    "lambda": (schedules.lambda_, "LambdaLR", {"lr_lambda": wavy}),
    "multiplicative": (schedules.multiplicative, "MultiplicativeLR", {"lr_lambda": shrinking}),
}

CHAINS = [
    "constant exponential step",
    "forever milestones",
    "linear polynomial multiplicative",
    "to_zero exponential",
    "cosine exponential",
    "exponential cosine",
    "linear cosine",
    "cosine linear step",
    "cosine milestones constant",
    "cosine cosine_1",
    "polynomial cosine multiplicative",
    "cosine restarts",
    "restarts cosine",
    "lambda cosine step",
    "linear lambda exponential",
    "multiplicative restarts",
]

SEQUENCES = [
    ("linear cosine exponential", [5, 21]),
    ("constant restarts", [6]),
    ("cosine multiplicative step", [9, 30]),
    ("exponential multiplicative", [0]),
    ("multiplicative lambda multiplicative", [4, 12]),
    ("milestones polynomial to_zero", [7, 7]),
]


def ours(name):
    factory, _, options = PARTS[name]
    return factory(BASE, **options)


def theirs(library, optimizer, name):
    _, scheduler, options = PARTS[name]
    return getattr(library, scheduler)(optimizer, **options)


def assert_equal_to_pytorch(schedule, make):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=BASE)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    # PyTorch accumulates rounding from step to step, ours in another order.
    np.testing.assert_allclose(schedules.values(schedule, STEPS), expected, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("names", CHAINS)
def test_chained_equals_pytorch(names, x64):
    parts = names.split()
    assert_equal_to_pytorch(
        schedules.chained([ours(name) for name in parts]),
        lambda lib, o: lib.ChainedScheduler([theirs(lib, o, name) for name in parts], o),
    )


@pytest.mark.parametrize(("names", "milestones"), SEQUENCES)
def test_sequential_equals_pytorch(names, milestones, x64):
    parts = names.split()
    assert_equal_to_pytorch(
        schedules.sequential([ours(name) for name in parts], milestones),
        lambda lib, o: lib.SequentialLR(o, [theirs(lib, o, name) for name in parts], milestones),
    )


def test_a_chain_may_hold_sequences_and_chains(x64):
    inside = schedules.sequential([ours("linear"), ours("multiplicative"), ours("cosine")], [6, 20])
    assert_equal_to_pytorch(
        schedules.chained([ours("step"), schedules.chained([inside, ours("exponential")])]),
        lambda lib, o: lib.ChainedScheduler(
            [
                theirs(lib, o, "step"),
                lib.ChainedScheduler(
                    [
                        lib.SequentialLR(
                            o,
                            [theirs(lib, o, n) for n in ("linear", "multiplicative", "cosine")],
                            [6, 20],
                        ),
                        theirs(lib, o, "exponential"),
                    ]
                ),
            ]
        ),
    )


def test_chained_in_blocks_equals_one_step_after_another():
    chain = schedules.chained([ours("cosine"), schedules.exponential(BASE, 0.999)])
    steps = np.array([127, 128, 129, 300])

    def body(value, t):
        scale, shift = chain.move(t)
        value = scale * value + shift
        return value, value

    start, times = np.float32(BASE), np.arange(301, dtype=np.float32)
    _, expected = jax.jit(lambda: jax.lax.scan(body, start, times))()
    np.testing.assert_allclose(jax.jit(jax.vmap(chain))(steps), expected[steps], rtol=1e-4)


def test_bad_chains_raise():
    for match, make in [
        ("share its base", lambda: [schedules.cosine(0.5, 9), schedules.exponential(1.0, 0.9)]),
        ("at least one", list),
    ]:
        with pytest.raises(ValueError, match=match):
            schedules.chained(make())
    with pytest.raises(TypeError, match="expected a schedule"):
        schedules.sequential([0.1, ours("cosine")], [5])
    with pytest.raises(ValueError, match="start_factor above zero"):
        schedules.chained([schedules.linear(0.5, 0.0), schedules.cosine(0.5, 9)])(3)
