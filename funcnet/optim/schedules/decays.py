"""Schedules that follow one formula from the first step on: closed and recursive forms."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_fraction
from funcnet.optim.schedules.steps import (
    Affine,
    Recurrence,
    as_float,
    base_value,
    factor,
    length,
    multiplies,
)

__all__ = ["constant", "cosine", "exponential", "linear", "multi_step", "polynomial", "step"]


def constant(lr: float | Array, factor: float = 1.0 / 3, total_iters: int = 5) -> Recurrence:
    """Hold a part of a value for some steps, then the whole.

    ``γ_t = factor * lr if t < total_iters else lr``

    To hold one value from the first step on, give the optimizer a number.

    Args:
        lr: the value.
        factor: what multiplies it at first.
        total_iters: for how many steps; 0 for all.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: the factor is not in [0, 1], or a negative number of steps.

    Example:
        >>> schedule = optim.schedules.constant(0.5, factor=0.5, total_iters=2)
        >>> [float(schedule(t)) for t in range(4)]
        [0.25, 0.25, 0.5, 0.5]

    Reference: ``torch.optim.lr_scheduler.ConstantLR``
    """
    check_fraction("factor", factor)
    total = length("total_iters", total_iters, open_end=False)

    def factor_at(t: Array) -> Array:
        # Without an end the factor stays, as in PyTorch.
        early = t < total if total > 0 else jnp.ones_like(t, bool)
        return jnp.where(early, factor, 1.0).astype(t.dtype)

    def ratio(t: Array) -> Array:
        if factor == 0:
            raise ValueError("constant can be chained only with a factor above zero")
        return jnp.where(t == 0, factor, jnp.where(t == total, 1 / factor, 1.0))

    return multiplies(lr, factor_at, ratio)


def linear(
    lr: float | Array,
    start_factor: float = 1.0 / 3,
    end_factor: float = 1.0,
    total_iters: int = 5,
) -> Recurrence:
    r"""Move the factor of ``lr`` along a line, then hold it.

    .. math:: \gamma_t = \gamma \left(a + (b - a) \frac{\min(t, n)}{n}\right)

    Args:
        lr: the base value γ.
        start_factor: *a*.
        end_factor: *b*.
        total_iters: *n*, the number of steps from one to the other.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: ``total_iters`` is not positive, or a factor is not in [0, 1].

    Example:
        >>> schedule = optim.schedules.linear(1.0, start_factor=0.5, total_iters=2)
        >>> [float(schedule(t)) for t in range(4)]
        [0.5, 0.75, 1.0, 1.0]

    Reference: ``torch.optim.lr_scheduler.LinearLR``
    """
    total = length("total_iters", total_iters)
    check_fraction("start_factor", start_factor)
    check_fraction("end_factor", end_factor)
    rise = end_factor - start_factor

    def factor(t: Array) -> Array:
        return start_factor + rise * (jnp.minimum(t, total) / total)

    def ratio(t: Array) -> Array:
        if start_factor == 0:
            raise ValueError("linear can be chained only from a start_factor above zero")
        moving = (t > 0) & (t <= total)
        before = total * start_factor + jnp.where(moving, t - 1, 0) * rise
        return jnp.where(t == 0, start_factor, jnp.where(moving, 1 + rise / before, 1.0))

    return multiplies(lr, factor, ratio)


def cosine(lr: float | Array, T_max: int, eta_min: float = 0.0) -> Recurrence:
    r"""Swing from ``lr`` to ``eta_min`` in ``T_max`` steps along a cosine, and back again.

    .. math:: \gamma_t = \eta + \tfrac12 (\gamma - \eta) \left(1 + \cos(\pi t / T)\right)

    Args:
        lr: the first value γ.
        T_max: *T*, half the period. For a value that stays low at the end see `warmup_cosine`.
        eta_min: η, the lowest value.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: ``T_max`` is not positive.

    Example:
        >>> schedule = optim.schedules.cosine(1.0, T_max=10)
        >>> [round(float(schedule(t)), 3) for t in (0, 5, 10)]
        [1.0, 0.5, 0.0]

    Reference: Loshchilov and Hutter, "SGDR", ICLR 2017;
    ``torch.optim.lr_scheduler.CosineAnnealingLR``
    """
    T = length("T_max", T_max)
    lr, eta_min = base_value("lr", lr), base_value("eta_min", eta_min)

    def closed(step: ArrayLike) -> Array:
        # The time within a period is exact; the cosine of a long time is not.
        angle = math.pi * (as_float(step) % (2 * T)) / T
        return eta_min + (lr - eta_min) * (1 + jnp.cos(angle)) / 2

    def move(t: Array) -> Affine:
        # (1 + cos a) / (1 + cos b) without cancellation; at the bottom, where b is π, a fixed rise.
        leaves = (t > 0) & ((t - 1 - T) % (2 * T) == 0)
        half = math.pi / (2 * T)
        ratio = jnp.square(jnp.cos(half * t) / jnp.where(leaves, 1, jnp.cos(half * (t - 1))))
        rest = leaves | (t == 0)
        rise = jnp.where(leaves, (lr - eta_min) * math.sin(half) ** 2, jnp.zeros_like(t))
        return jnp.where(rest, 1, ratio), jnp.where(rest, rise, eta_min * (1 - ratio))

    return Recurrence(closed, move, lr)


def exponential(lr: float | Array, gamma: float) -> Recurrence:
    r"""Multiply by ``gamma`` at every step: :math:`\gamma_t = \gamma\, g^t`.

    Args:
        lr: the first value.
        gamma: the factor a step.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: ``gamma`` is negative.

    Example:
        >>> schedule = optim.schedules.exponential(1.0, 0.5)
        >>> [float(schedule(t)) for t in range(3)]
        [1.0, 0.5, 0.25]

    Reference: ``torch.optim.lr_scheduler.ExponentialLR``
    """
    gamma = factor("gamma", gamma)

    def in_all(t: Array) -> Array:
        return jnp.power(jnp.asarray(gamma, t.dtype), t)

    return multiplies(lr, in_all, lambda t: jnp.where(t == 0, 1.0, gamma))


def step(lr: float | Array, step_size: int, gamma: float = 0.1) -> Recurrence:
    r"""Multiply by ``gamma`` every ``step_size`` steps.

    .. math:: \gamma_t = \gamma\, g^{\lfloor t / s \rfloor}

    Args:
        lr: the first value.
        step_size: *s*.
        gamma: the factor.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: ``step_size`` is not positive, or ``gamma`` negative.

    Example:
        >>> schedule = optim.schedules.step(1.0, step_size=2, gamma=0.5)
        >>> [float(schedule(t)) for t in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]

    Reference: ``torch.optim.lr_scheduler.StepLR``
    """
    size, gamma = length("step_size", step_size), factor("gamma", gamma)

    def in_all(t: Array) -> Array:
        return jnp.power(jnp.asarray(gamma, t.dtype), jnp.floor(t / size))

    def ratio(t: Array) -> Array:
        return jnp.where((t > 0) & (t % size == 0), gamma, 1.0)

    return multiplies(lr, in_all, ratio)


def multi_step(lr: float | Array, milestones: Sequence[int], gamma: float = 0.1) -> Recurrence:
    """Multiply by ``gamma`` at each milestone; one listed twice counts twice.

    ``γ_t = lr * gamma^k``, where ``k`` is the number of milestones up to ``t``.

    Args:
        lr: the first value.
        milestones: step counts, in any order.
        gamma: the factor.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: a milestone or ``gamma`` is negative.

    Example:
        >>> schedule = optim.schedules.multi_step(1.0, [2, 3], gamma=0.5)
        >>> [float(schedule(t)) for t in range(5)]
        [1.0, 1.0, 0.5, 0.25, 0.25]

    Reference: ``torch.optim.lr_scheduler.MultiStepLR``
    """
    checked = [length("a milestone", mark, open_end=False) for mark in milestones]
    marks, gamma = np.array(sorted(checked), dtype=np.float64), factor("gamma", gamma)

    def power(passed: Array, dtype: DType) -> Array:
        return jnp.power(jnp.asarray(gamma, dtype), jnp.sum(passed).astype(dtype))

    return multiplies(
        lr,
        lambda t: power(t >= jnp.asarray(marks, t.dtype), t.dtype),
        lambda t: power(t == jnp.asarray(marks, t.dtype), t.dtype),
    )


def polynomial(lr: float | Array, total_iters: int = 5, power: float = 1.0) -> Recurrence:
    r"""Fall to zero as a power of the time that is left.

    .. math:: \gamma_t = \gamma \left(1 - \frac{\min(t, n)}{n}\right)^{q}

    Args:
        lr: the first value γ.
        total_iters: *n*, the step at which zero is reached.
        power: *q*.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: ``total_iters`` is not positive, or ``power`` negative.

    Example:
        >>> schedule = optim.schedules.polynomial(1.0, total_iters=4, power=2.0)
        >>> [float(schedule(t)) for t in range(5)]
        [1.0, 0.5625, 0.25, 0.0625, 0.0]

    Reference: ``torch.optim.lr_scheduler.PolynomialLR``
    """
    total, power = length("total_iters", total_iters), factor("power", power)

    def in_all(t: Array) -> Array:
        return jnp.power(jnp.maximum(total - t, 0) / total, power)

    def ratio(t: Array) -> Array:
        moving = (t > 0) & (t <= total)
        left = total - jnp.where(moving, t, 1)
        return jnp.where(moving, jnp.power(left / (left + 1), power), 1.0)

    return multiplies(lr, in_all, ratio)
