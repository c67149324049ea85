"""Schedules that begin with a warm-up: what large models are trained with."""

import math
from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Schedule
from funcnet.core.checks import check_choice
from funcnet.optim.schedules.steps import as_float, base_value, length

__all__ = ["inverse_sqrt", "warmup_cosine", "warmup_stable_decay"]


def warmup_cosine(
    lr: float | Array, warmup_steps: int, total_steps: int, start: float = 0.0, end: float = 0.0
) -> Schedule:
    """Rise along a line to ``lr``, fall along a cosine to ``end``, and stay there.

    ``γ_t = start + (lr - start) t / w if t < w else end + ½ (lr - end) (1 + cos(π s))``,
    ``s = min((t - w) / (total_steps - w), 1)``, where ``w`` is ``warmup_steps``.

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
    warmup, total = float(warmup_steps), float(total_steps)
    lr, start, end = _values(lr, start, end)

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        rise = start + (lr - start) * (jnp.minimum(t, warmup) / (warmup or 1.0))
        progress = jnp.clip((t - warmup) / (total - warmup), 0.0, 1.0)
        fall = end + (lr - end) * (1 + jnp.cos(math.pi * progress)) / 2
        return jnp.where(t < warmup, rise, fall)

    return schedule


def _values(lr: Any, start: Any, end: Any = 0.0) -> tuple[Any, Any, Any]:
    return base_value("lr", lr), base_value("start", start), base_value("end", end)


def check_span(warmup_steps: int, total_steps: int) -> None:
    """Raise ``ValueError`` unless the warm-up ends before the whole does."""
    if not 0 <= warmup_steps < total_steps < math.inf:
        raise ValueError(
            "expected 0 <= warmup_steps < total_steps; "
            f"got warmup_steps={warmup_steps}, total_steps={total_steps}"
        )


def warmup_stable_decay(
    lr: float | Array,
    warmup_steps: int,
    decay_steps: int,
    total_steps: int,
    start: float = 0.0,
    end: float = 0.0,
    shape: str = "linear",
) -> Schedule:
    """Rise along a line to ``lr``, stay there, and fall to ``end`` in the last steps.

    ``γ_t = start + (lr - start) t / w if t < w else end + (lr - end) f(s)``,
    ``s = min(max(t - total_steps + d, 0) / d, 1)``, where ``w`` is ``warmup_steps``, ``d`` is ``decay_steps``, and
    ``f(s)`` is ``1 - s``, ``½ (1 + cos(π s))`` or ``1 - √s``.

    Args:
        lr: the plateau.
        warmup_steps: how many steps the rise takes; may be 0.
        decay_steps: how many steps the fall takes.
        total_steps: the step at which ``end`` is reached.
        start: the value at step 0.
        end: the last value.
        shape: of the fall: ``"linear"``, ``"cosine"`` or ``"sqrt"`` (``1 - sqrt(progress)``).

    Returns:
        ``step -> value``.

    Raises:
        ValueError: the parts do not fit into ``total_steps``, or an unknown shape.

    Example:
        >>> schedule = optim.schedules.warmup_stable_decay(1.0, 2, 2, 6)
        >>> [float(schedule(t)) for t in range(8)]
        [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0]

    Reference: Hu et al., "MiniCPM", 2024; Hägele et al., "Scaling Laws and Compute-Optimal Training
    Beyond Fixed Training Durations", NeurIPS 2024 (the square root)
    """
    check_choice("shape", shape, ("linear", "cosine", "sqrt"))
    warmup = length("warmup_steps", warmup_steps, open_end=False)
    decay, total = length("decay_steps", decay_steps), length("total_steps", total_steps)
    if warmup + decay > total:
        raise ValueError(
            "expected warmup_steps + decay_steps <= total_steps; got "
            f"{warmup_steps} + {decay_steps} and {total_steps}"
        )

    lr, start, end = _values(lr, start, end)

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        rise = start + (lr - start) * (jnp.minimum(t, warmup) / (warmup or 1.0))
        progress = jnp.clip((t - (total - decay)) / decay, 0.0, 1.0)
        left = {
            "linear": 1 - progress,
            "cosine": (1 + jnp.cos(math.pi * progress)) / 2,
            "sqrt": 1 - jnp.sqrt(progress),
        }[shape]
        return jnp.where(t < warmup, rise, end + (lr - end) * left)

    return schedule


def inverse_sqrt(lr: float | Array, warmup_steps: int, start: float = 0.0) -> Schedule:
    r"""Rise along a line to ``lr``, then fall as :math:`\gamma \sqrt{w / t}`, without an end.

    Args:
        lr: the peak γ, reached at step ``warmup_steps``.
        warmup_steps: *w*.
        start: the value at step 0.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: ``warmup_steps`` is not positive.

    Example:
        >>> schedule = optim.schedules.inverse_sqrt(1.0, warmup_steps=4)
        >>> [float(schedule(t)) for t in (0, 2, 4, 16)]
        [0.0, 0.5, 1.0, 0.5]

    Reference: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 5.3
    """
    warmup = length("warmup_steps", warmup_steps)
    lr, start, _ = _values(lr, start)

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        rise = start + (lr - start) * (jnp.minimum(t, warmup) / warmup)
        return jnp.where(t < warmup, rise, lr * jnp.sqrt(warmup / jnp.maximum(t, warmup)))

    return schedule
