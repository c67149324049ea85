"""Every schedule at its edges: step 0, its end and far past it, lengths of 0, 1 and 2**31, odd arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import optim
from funcnet.optim import schedules

S = schedules
LONG = 2**31 + 11

# name: make(length), the range of values, the least length; a new schedule is one row here.
TABLE = {
    "constant": (lambda n: S.constant(0.5, 0.2, n), (0.1, 0.5), 0),
    "linear": (lambda n: S.linear(0.5, 0.2, 1.0, n), (0.1, 0.5), 1),
    "linear to zero": (lambda n: S.linear(0.5, 1.0, 0.0, n), (0.0, 0.5), 1),
    "cosine": (lambda n: S.cosine(0.5, n, 0.1), (0.1, 0.5), 1),
    "exponential": (lambda n: S.exponential(0.5, 0.9), (0.0, 0.5), 0),
    "exponential of 0": (lambda n: S.exponential(0.5, 0), (0.0, 0.5), 0),
    "step": (lambda n: S.step(0.5, n, 0.1), (0.0, 0.5), 1),
    "multi_step": (lambda n: S.multi_step(0.5, [n, 2 * n], 0.1), (0.0, 0.5), 0),
    "polynomial": (lambda n: S.polynomial(0.5, n, 2.0), (0.0, 0.5), 1),
    "polynomial of 0": (lambda n: S.polynomial(0.5, n, 0.0), (0.0, 0.5), 1),
    "restarts": (lambda n: S.cosine_warm_restarts(0.5, n, 1, 0.1), (0.1, 0.5), 1),
    "restarts, longer": (lambda n: S.cosine_warm_restarts(0.5, n, 3, 0.1), (0.1, 0.5), 1),
    "restarts, much longer": (lambda n: S.cosine_warm_restarts(0.5, n, LONG, 0.1), (0.1, 0.5), 1),
    "cyclic": (lambda n: S.cyclic(0.1, 0.5, n), (0.1, 0.5), 1),
    "cyclic, no fall": (lambda n: S.cyclic(0.1, 0.5, n, 0), (0.1, 0.5), 1),
    "cyclic, halved": (lambda n: S.cyclic(0.1, 0.5, n, 3, "triangular2"), (0.1, 0.5), 1),
    "cyclic, falling": (
        lambda n: S.cyclic(0.1, 0.5, n, None, "exp_range", 0.99),
        (0.1, 0.5),
        1,
    ),
    **{
        f"one_cycle {pct} {anneal} {three}": (
            lambda n, pct=pct, anneal=anneal, three=three: S.one_cycle(
                0.5, n, pct_start=pct, anneal_strategy=anneal, three_phase=three
            ),
            (0.0, 0.5),
            1,
        )
        for pct in (0.0, 0.1, 0.3, 0.5, 0.6, 1.0)
        for anneal in ("cos", "linear")
        for three in (False, True)
    },
    "one_cycle_momentum": (lambda n: S.one_cycle_momentum(n), (0.85, 0.95), 1),
    "one_cycle_momentum, three": (
        lambda n: S.one_cycle_momentum(n, pct_start=1.0, three_phase=True),
        (0.85, 0.95),
        1,
    ),
    "warmup_cosine": (lambda n: S.warmup_cosine(0.5, n, n + 3, 0.1, 0.05), (0.05, 0.5), 0),
    "warmup_cosine, no warm-up": (lambda n: S.warmup_cosine(0.5, 0, n, 0.1), (0.0, 0.5), 1),
    **{
        f"warmup_stable_decay {shape}": (
            lambda n, shape=shape: S.warmup_stable_decay(0.5, n, n, 2 * n, shape=shape),
            (0.0, 0.5),
            1,
        )
        for shape in ("linear", "cosine", "sqrt")
    },
    **{
        f"swa {anneal}": (
            lambda n, anneal=anneal: S.swa(0.5, 0.1, n, anneal),
            (0.1, 0.5),
            0,
        )
        for anneal in ("cos", "linear")
    },
    "ema_decay": (lambda n: S.ema_decay(0.5, n), (0.0, 0.5), 1),
    "inverse_sqrt": (lambda n: S.inverse_sqrt(0.5, n), (0.0, 0.5), 1),
    "piecewise": (lambda n: S.piecewise([0.5, 0.1], [n]), (0.1, 0.5), 0),
    "lambda_": (lambda n: S.lambda_(0.5, lambda t: 1 / (1 + t)), (0.0, 0.5), 0),
    "multiplicative": (lambda n: S.multiplicative(0.5, lambda t: 0.5 + 0 * t), (0.0, 0.5), 0),
    "sequential": (
        lambda n: S.sequential([S.linear(0.5, 0.2, 1.0, 3), S.cosine(0.5, 5, 0.1)], [n]),
        (0.1, 0.5),
        0,
    ),
    "sequential, resumed": (
        lambda n: S.sequential(
            [S.exponential(0.5, 0.9), S.multiplicative(0.5, lambda t: 0.5 + 0 * t)], [n]
        ),
        (0.0, 0.5),
        0,
    ),
    "chained": (
        lambda n: S.chained([S.constant(0.5, 0.3, n), S.exponential(0.5, 0.9)]),
        (0.0, 0.5),
        0,
    ),
    "chained of 0": (
        lambda n: S.chained([S.polynomial(0.5, n), S.linear(0.5, 0.5, 0.0, n)]),
        (0.0, 0.5),
        1,
    ),
}
LENGTHS = (0, 1, 2, 10, 2**24 + 1, LONG, 2**40)
# These compile a loop at every call.
LOOPS = {"multiplicative": (0,), "sequential, resumed": (0, 3, LONG)}


def steps_around(n):
    """Steps as a counter has them: the first, those about the end, and the last there is."""
    near = {n + d for d in (-2, -1, 0, 1, 2)} | {2 * n - 1, 2 * n, 2 * n + 1, 10 * n}
    steps = sorted(t for t in {0, 1, 2, 3, 2**24 + 1, 2**31 - 1, *near} if 0 <= t < 2**31)
    # Of one length each, so that nothing compiles anew.
    return np.array(steps + steps[-1:] * (16 - len(steps)))


def test_the_table_has_every_schedule():
    there = {name.split()[0].rstrip(",") for name in TABLE} | {"cosine_warm_restarts"}
    made = {one for one in schedules.__all__ if one[0].islower()}
    assert made - there == {"values", "reduce_on_plateau"}


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", TABLE)
def test_values_are_finite_and_in_range(name, double, request):
    if double:
        request.getfixturevalue("x64")
    make, (low, high), least = TABLE[name]
    for n in (n for n in LOOPS.get(name, LENGTHS) if n >= least):
        schedule = make(n)
        steps = steps_around(n)
        for dtype in ("int32",) if double else ("int32", "uint32", "float32"):
            value = jax.vmap(schedule)(jnp.asarray(steps, dtype))
            assert value.dtype == jnp.zeros(()).dtype
            # The bounds are rounded as the values are.
            inside = (value >= low - 1e-6) & (value <= high + 1e-6)
            assert inside.all(), (name, n, dtype, steps[~np.asarray(inside)], value)
        # Steps that no counter has: larger, infinite, before the first, Python's own.
        for t in (2**40, float("inf"), -(2**40), 3.5, jnp.uint32(2**32 - 1)):
            assert low - 1e-6 <= float(schedule(t)) <= high + 1e-6, (name, n, t)
        assert float(schedule(-5)) == float(schedule(0))


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("three_phase", [False, True])
def test_one_cycle_holds_its_last_value(anneal, three_phase):
    """PyTorch's scheduler raises there; by its formula the rate would fall below zero."""
    schedule = S.one_cycle(1.0, 10, anneal_strategy=anneal, three_phase=three_phase)
    last = 1.0 / 25 / 1e4
    for t in (9, 10, 11, 1000, 2**31 - 1):
        np.testing.assert_allclose(schedule(t), last, rtol=1e-3)
    momentum = S.one_cycle_momentum(10, anneal_strategy=anneal, three_phase=three_phase)
    np.testing.assert_allclose(momentum(1000), 0.95, rtol=1e-6)


def test_a_phase_of_no_width_is_passed_at_once():
    # The rise ends where it begins, at step 0: the cycle starts at its peak.
    schedule = S.one_cycle(1.0, 10, pct_start=0.1)
    assert float(schedule(0)) == 1.0
    np.testing.assert_allclose(schedule(9), 4e-6, rtol=1e-3)
    # The fall has no width: the last step is the peak.
    np.testing.assert_allclose(S.one_cycle(1.0, 10, pct_start=1.0)(9), 1.0, rtol=1e-6)


def test_schedules_of_any_length_rise_and_fall():
    n = 2**33
    half = float(2**32)
    for schedule, at in (
        (S.linear(1.0, 1.0, 0.0, n), 0.5),
        (S.cosine(1.0, n), 0.5),
        (S.polynomial(1.0, n), 0.5),
        (S.warmup_cosine(1.0, 0, n), 0.5),
        (S.cyclic(0.0, 1.0, n), 0.5),
        (S.warmup_stable_decay(1.0, 0, n, n), 0.5),
        (S.cosine_warm_restarts(1.0, n), 0.5),
        (S.inverse_sqrt(1.0, n), 0.5),
        (S.step(1.0, n), 1.0),
        (S.one_cycle(1.0, n, pct_start=1.0, anneal_strategy="linear"), 0.52),
    ):
        np.testing.assert_allclose(schedule(half), at, rtol=1e-6)


def test_growth_stops_at_the_largest_number():
    for schedule in (
        S.exponential(2.0, 2.0),
        S.step(2.0, 1, 10.0),
        S.cyclic(1.0, 2.0, 3, 3, "exp_range", 2.0),
        S.multiplicative(1.0, lambda t: 1e10 + 0 * t),
        S.chained([S.exponential(2.0, 2.0), S.exponential(2.0, 2.0)]),
        S.chained([S.exponential(2.0, 2.0), S.cosine(2.0, 7)]),
    ):
        for t in (200, 4093):
            assert np.isfinite(float(schedule(t))), t
    # Nothing times the largest number is nothing.
    assert float(S.exponential(0.0, 2.0)(1000)) == 0.0


def test_large_counts_are_counted_exactly():
    """Float32 knows no odd number above 2**24; a milestone there is reached at its own step."""
    n = 2**24 + 1
    schedule = S.sequential([S.piecewise([1.0], []), S.piecewise([0.5, 0.25], [1])], [n])
    assert [float(schedule(jnp.int32(t))) for t in (n - 1, n, n + 1)] == [1.0, 0.5, 0.25]
    # An unsigned count does not pass below zero.
    early = S.sequential([S.piecewise([1.0], []), S.exponential(0.5, 0.5)], [5])
    assert [float(early(jnp.uint32(t))) for t in (0, 4, 5, 6)] == [1.0, 1.0, 0.5, 0.25]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_arguments_that_are_no_number_raise(bad):
    for make in (
        lambda: S.constant(bad),
        lambda: S.constant(1.0, bad),
        lambda: S.constant(1.0, 0.5, bad),
        lambda: S.linear(bad),
        lambda: S.linear(1.0, total_iters=bad),
        lambda: S.cosine(bad, 5),
        lambda: S.cosine(1.0, bad),
        lambda: S.cosine(1.0, 5, bad),
        lambda: S.exponential(bad, 0.5),
        lambda: S.exponential(1.0, bad),
        lambda: S.step(1.0, bad),
        lambda: S.step(1.0, 3, bad),
        lambda: S.multi_step(1.0, [bad]),
        lambda: S.multi_step(1.0, [3], bad),
        lambda: S.polynomial(1.0, bad),
        lambda: S.polynomial(1.0, 5, bad),
        lambda: S.cosine_warm_restarts(1.0, bad),
        lambda: S.cosine_warm_restarts(1.0, 5, bad),
        lambda: S.cosine_warm_restarts(bad, 5),
        lambda: S.cyclic(bad, 1.0),
        lambda: S.cyclic(0.1, bad),
        lambda: S.cyclic(0.1, 1.0, bad),
        lambda: S.cyclic(0.1, 1.0, 5, bad),
        lambda: S.cyclic(0.1, 1.0, gamma=bad),
        lambda: S.one_cycle(bad, 5),
        lambda: S.one_cycle(1.0, bad),
        lambda: S.one_cycle(1.0, 5, pct_start=bad),
        lambda: S.one_cycle(1.0, 5, div_factor=bad),
        lambda: S.one_cycle(1.0, 5, final_div_factor=bad),
        lambda: S.one_cycle_momentum(bad),
        lambda: S.one_cycle_momentum(5, base_momentum=bad),
        lambda: S.one_cycle_momentum(5, max_momentum=bad),
        lambda: S.warmup_cosine(bad, 1, 5),
        lambda: S.warmup_cosine(1.0, bad, 5),
        lambda: S.warmup_cosine(1.0, 1, bad),
        lambda: S.warmup_cosine(1.0, 1, 5, bad),
        lambda: S.warmup_cosine(1.0, 1, 5, end=bad),
        lambda: S.warmup_stable_decay(1.0, bad, 5, 10),
        lambda: S.warmup_stable_decay(1.0, 5, bad, 10),
        lambda: S.warmup_stable_decay(1.0, 5, 5, bad),
        lambda: S.inverse_sqrt(bad, 5),
        lambda: S.inverse_sqrt(1.0, bad),
        lambda: S.piecewise([1.0, bad], [5]),
        lambda: S.piecewise([1.0, 0.5], [bad]),
        lambda: S.lambda_(bad, lambda t: t),
        lambda: S.multiplicative(bad, lambda t: t),
        lambda: S.sequential([S.linear(1.0)] * 2, [bad]),
        lambda: S.reduce_on_plateau(factor=bad),
    ):
        with pytest.raises(ValueError):
            make()


def test_arguments_below_zero_raise():
    for make in (
        lambda: S.constant(1.0, 0.5, -1),
        lambda: S.exponential(1.0, -0.5),
        lambda: S.step(1.0, -1),
        lambda: S.step(1.0, 3, -0.5),
        lambda: S.multi_step(1.0, [-1]),
        lambda: S.multi_step(1.0, [1], -0.5),
        lambda: S.polynomial(1.0, 5, -1.0),
        lambda: S.cyclic(0.1, 1.0, 5, -1),
        lambda: S.cyclic(0.1, 1.0, gamma=-1.0),
        lambda: S.one_cycle(1.0, 0),
        lambda: S.one_cycle(1.0, 5, div_factor=0.0),
        lambda: S.one_cycle(1.0, 5, final_div_factor=-1.0),
        lambda: S.warmup_cosine(1.0, -1, 5),
        lambda: S.inverse_sqrt(1.0, 0),
        lambda: S.piecewise([1.0, 0.5], [-1]),
        lambda: S.sequential([S.linear(1.0)] * 2, [-1]),
        lambda: S.reduce_on_plateau(factor=-0.5),
        lambda: S.reduce_on_plateau(patience=-1),
        lambda: S.reduce_on_plateau(cooldown=-1),
    ):
        with pytest.raises(ValueError):
            make()


def test_a_plateau_keeps_the_ratios_of_groups():
    optimizer = optim.groups({"head": optim.sgd(0.5), "*": optim.sgd(0.01)})
    opt_state = optimizer.init({"head": jnp.ones(1), "body": jnp.ones(1)})
    plateau = S.reduce_on_plateau(factor=0.1, patience=0, min_lr=0.005)
    state = plateau.init(optim.hyperparams(opt_state))
    update = jax.jit(plateau.update)
    for value in (1.0, 1.0, jnp.nan):
        state = update(state, value)
    rates = optim.hyperparams(optim.with_hyperparams(opt_state, state.lr))
    # As in PyTorch, each group on its own stops at the lowest rate.
    np.testing.assert_allclose(rates["head.lr"], 0.005, rtol=1e-5)
    np.testing.assert_allclose(rates["*.lr"], 0.005, rtol=1e-5)
    once = plateau.update(plateau.update(plateau.init({"a": 0.5, "b": 0.1}), 1.0), 1.0)
    np.testing.assert_allclose(once.lr["a"] / once.lr["b"], 5.0, rtol=1e-5)
    factor = plateau.update(plateau.update(plateau.init(1.0), 1.0), 1.0).lr
    np.testing.assert_allclose(factor, 0.1, rtol=1e-6)


def test_a_plateau_waits_as_long_as_it_is_told():
    plateau = S.reduce_on_plateau(patience=2**31, cooldown=2**40)
    state = plateau.init(1.0)._replace(best=jnp.array(0.0), bad_epochs=jnp.int32(2**31 - 2))
    for _ in range(2):
        state = plateau.update(state, 1.0)
    assert int(state.bad_epochs) >= 0
    # The first value is the best so far, whatever the threshold makes of infinity.
    state = S.reduce_on_plateau(threshold=1.0).update(plateau.init(1.0), 3.0)
    assert float(state.best) == 3.0
