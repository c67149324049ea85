"""Schedules that follow one formula from the first step on: PyTorch's closed forms."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike, Schedule
from funcnet.core.checks import check_positive
from funcnet.optim.schedules.steps import as_float

__all__ = ["constant", "cosine", "exponential", "linear", "multi_step", "polynomial", "step"]


def constant(lr: float | Array, factor: float = 1.0, total_iters: int = 0) -> Schedule:
    """Hold a value; for the first ``total_iters`` steps hold ``factor`` times it.

    Args:
        lr: the value.
        factor: what multiplies it at first (PyTorch's default is 1/3).
        total_iters: for how many steps (PyTorch's default is 5).

    Returns:
        ``step -> value``.

    Example:
        >>> schedule = optim.schedules.constant(0.5, factor=0.5, total_iters=2)
        >>> [float(schedule(t)) for t in range(4)]
        [0.25, 0.25, 0.5, 0.5]

    Reference: ``torch.optim.lr_scheduler.ConstantLR``
    """

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        return lr * jnp.where(t < total_iters, factor, 1.0).astype(t.dtype)

    return schedule


def linear(
    lr: float | Array,
    start_factor: float = 1.0 / 3,
    end_factor: float = 1.0,
    total_iters: int = 5,
) -> Schedule:
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
        ValueError: ``total_iters`` is not positive.

    Example:
        >>> schedule = optim.schedules.linear(1.0, start_factor=0.5, total_iters=2)
        >>> [float(schedule(t)) for t in range(4)]
        [0.5, 0.75, 1.0, 1.0]

    Reference: ``torch.optim.lr_scheduler.LinearLR``
    """
    check_positive("total_iters", total_iters)

    def schedule(step: ArrayLike) -> Array:
        progress = jnp.minimum(as_float(step), total_iters) / total_iters
        return lr * (start_factor + (end_factor - start_factor) * progress)

    return schedule


def cosine(lr: float | Array, T_max: int, eta_min: float = 0.0) -> Schedule:
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
    check_positive("T_max", T_max)

    def schedule(step: ArrayLike) -> Array:
        return eta_min + (lr - eta_min) * (1 + jnp.cos(math.pi * as_float(step) / T_max)) / 2

    return schedule


def exponential(lr: float | Array, gamma: float) -> Schedule:
    r"""Multiply by ``gamma`` at every step: :math:`\gamma_t = \gamma\, g^t`.

    Args:
        lr: the first value.
        gamma: the factor a step.

    Returns:
        ``step -> value``.

    Example:
        >>> schedule = optim.schedules.exponential(1.0, 0.5)
        >>> [float(schedule(t)) for t in range(3)]
        [1.0, 0.5, 0.25]

    Reference: ``torch.optim.lr_scheduler.ExponentialLR``
    """

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        return lr * jnp.power(jnp.asarray(gamma, t.dtype), t)

    return schedule


def step(lr: float | Array, step_size: int, gamma: float = 0.1) -> Schedule:
    r"""Multiply by ``gamma`` every ``step_size`` steps.

    .. math:: \gamma_t = \gamma\, g^{\lfloor t / s \rfloor}

    Args:
        lr: the first value.
        step_size: *s*.
        gamma: the factor.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: ``step_size`` is not positive.

    Example:
        >>> schedule = optim.schedules.step(1.0, step_size=2, gamma=0.5)
        >>> [float(schedule(t)) for t in range(5)]
        [1.0, 1.0, 0.5, 0.5, 0.25]

    Reference: ``torch.optim.lr_scheduler.StepLR``
    """
    check_positive("step_size", step_size)

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        return lr * jnp.power(jnp.asarray(gamma, t.dtype), jnp.floor(t / step_size))

    return schedule


def multi_step(lr: float | Array, milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """Multiply by ``gamma`` at each milestone; one listed twice counts twice.

    Args:
        lr: the first value.
        milestones: step counts, in any order.
        gamma: the factor.

    Returns:
        ``step -> value``.

    Example:
        >>> schedule = optim.schedules.multi_step(1.0, [2, 3], gamma=0.5)
        >>> [float(schedule(t)) for t in range(5)]
        [1.0, 1.0, 0.5, 0.25, 0.25]

    Reference: ``torch.optim.lr_scheduler.MultiStepLR``
    """
    marks = np.array(sorted(milestones), dtype=np.float64)

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        passed = jnp.sum(t >= jnp.asarray(marks, t.dtype)).astype(t.dtype)
        return lr * jnp.power(jnp.asarray(gamma, t.dtype), passed)

    return schedule


def polynomial(lr: float | Array, total_iters: int = 5, power: float = 1.0) -> Schedule:
    r"""Fall to zero as a power of the time that is left.

    .. math:: \gamma_t = \gamma \left(1 - \frac{\min(t, n)}{n}\right)^{q}

    Args:
        lr: the first value γ.
        total_iters: *n*, the step at which zero is reached.
        power: *q*.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: ``total_iters`` is not positive.

    Example:
        >>> schedule = optim.schedules.polynomial(1.0, total_iters=4, power=2.0)
        >>> [float(schedule(t)) for t in range(5)]
        [1.0, 0.5625, 0.25, 0.0625, 0.0]

    Reference: ``torch.optim.lr_scheduler.PolynomialLR``
    """
    check_positive("total_iters", total_iters)

    def schedule(step: ArrayLike) -> Array:
        left = jnp.maximum(total_iters - as_float(step), 0) / total_iters
        return lr * jnp.power(left, power)

    return schedule
