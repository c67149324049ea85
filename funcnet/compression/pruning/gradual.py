"""Schedules of how much is pruned while a model is trained."""

from typing import Literal

import jax.numpy as jnp

from funcnet.core.aliases import Array, Schedule
from funcnet.core.checks import check_choice, check_count, check_non_negative, check_probability

__all__ = ["gradual"]


def gradual(
    start: float,
    end: float,
    steps: int,
    *,
    begin: int = 0,
    curve: Literal["cubic", "linear"] = "cubic",
) -> Schedule:
    r"""Return how much to prune at each step: more and more, fast at first.

    .. math:: s_t = s_e + (s_s - s_e) \left(1 - \frac{t - t_0}{n}\right)^3

    Before ``begin`` nothing is pruned, and from ``begin + steps`` on it is ``end``. With no steps at all everything
    is pruned at once, at ``begin``.

    Args:
        start: the fraction at ``begin``.
        end: the last fraction.
        steps: *n*, how many steps it takes from one to the other.
        begin: :math:`t_0`.
        curve: ``"cubic"``, or ``"linear"``: without the power of three.

    Returns:
        ``step -> fraction``, for `optim.keep_masked`.

    Raises:
        ValueError: a fraction is not in [0, 1], the last is the smaller, or a count is negative.
        TypeError: a count is no whole number.

    Example:
        >>> schedule = fn.compression.gradual(0.0, 0.8, 2)
        >>> [round(float(schedule(step)), 3) for step in range(4)]
        [0.0, 0.7, 0.8, 0.8]

    Reference: Zhu and Gupta, "To prune, or not to prune", 2017, https://arxiv.org/abs/1710.01878
    """
    check_probability("start", start)
    check_probability("end", end)
    for name, count in (("steps", steps), ("begin", begin)):
        check_count(name, count)
        check_non_negative(name, count)
    check_choice("curve", curve, ("cubic", "linear"))
    if end < start:
        raise ValueError(f"what is pruned stays so: end={end} must not be below start={start}")
    power = 3 if curve == "cubic" else 1

    def amount(step: Array) -> Array:
        # Whole numbers are compared as such, so that a late step is not rounded to another.
        since = jnp.asarray(step) - begin
        part = jnp.clip(since, 0, steps).astype(float) / max(steps, 1)
        now = end + (start - end) * (1 - part) ** power
        now = jnp.where(since >= steps, end, now)
        return jnp.where(since >= 0, now, 0.0)

    return amount
