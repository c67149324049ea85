"""Schedules that begin with a warm-up: what large models are trained with."""

import math

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Schedule
from funcnet.optim.schedules.steps import as_float

__all__ = ["warmup_cosine"]


def warmup_cosine(
    lr: float | Array, warmup_steps: int, total_steps: int, start: float = 0.0, end: float = 0.0
) -> Schedule:
    """Rise along a line to ``lr``, fall along a cosine to ``end``, and stay there.

    Args:
        lr: the peak, reached at step ``warmup_steps``.
        warmup_steps: how many steps the rise takes; may be 0.
        total_steps: the step at which ``end`` is reached, warm-up included.
        start: the value at step 0.
        end: the last value.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: unless ``0 <= warmup_steps < total_steps``.

    Example:
        >>> schedule = optim.schedules.warmup_cosine(1.0, warmup_steps=2, total_steps=6)
        >>> [round(float(schedule(t)), 3) for t in (0, 1, 2, 4, 6, 9)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]

    Reference: Loshchilov and Hutter, "SGDR", ICLR 2017; Goyal et al., "Accurate, Large Minibatch
    SGD", 2017 (the warm-up)
    """
    check_span(warmup_steps, total_steps)

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        rise = start + (lr - start) * (t / max(warmup_steps, 1))
        progress = jnp.clip((t - warmup_steps) / (total_steps - warmup_steps), 0.0, 1.0)
        fall = end + (lr - end) * (1 + jnp.cos(math.pi * progress)) / 2
        return jnp.where(t < warmup_steps, rise, fall)

    return schedule


def check_span(warmup_steps: int, total_steps: int) -> None:
    """Raise ``ValueError`` unless the warm-up ends before the whole does."""
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(
            "expected 0 <= warmup_steps < total_steps; "
            f"got warmup_steps={warmup_steps}, total_steps={total_steps}"
        )
