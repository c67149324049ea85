"""What schedules are made of: a closed form, and the move from one step to the next.

Alone, a schedule is its closed form. Where several act on one value (`chained`), each moves what the
others have left of it: ``value <- scale * value + shift``, as PyTorch's schedulers do.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Schedule

__all__ = ["Recurrence"]

Affine = tuple[Array, Array]
"""``scale`` and ``shift`` of the move ``value <- scale * value + shift``."""


@dataclass(frozen=True, eq=False)
class Recurrence:
    """A schedule ``step -> value`` that also knows its recursive form.

    `chained` takes any schedule; one that is no recurrence sets the value at every step.

    Attributes:
        closed: the closed form, ``step -> value``.
        move: ``step -> (scale, shift)`` of a step counted as a float; step 0 is the move from the
            base.
        base: what the value is before step 0; ``None`` if the schedule always sets it.
        factor: ``step -> factor`` if the schedule does nothing but multiply the base.
        resumed: ``step -> factor`` of the value that the schedule before it in `sequential` left,
            for those that go on from there; the others start from their base.

    Example:
        >>> schedule = optim.schedules.exponential(1.0, 0.5)
        >>> scale, shift = schedule.move(jnp.array(3.0))
        >>> float(schedule(3)), float(scale), float(shift)
        (0.125, 0.5, 0.0)
    """

    closed: Callable[[ArrayLike], Array]
    move: Callable[[Array], Affine]
    base: float | Array | None = None
    factor: Callable[[Array], Array] | None = None
    resumed: Callable[[Array], Array] | None = None

    def __call__(self, step: ArrayLike) -> Array:
        """Give the value at a step."""
        return self.closed(step)


def as_float(step: ArrayLike) -> Array:
    """Convert a step count to the default float dtype, in which schedules compute."""
    return jnp.asarray(step).astype(float)


def multiplies(
    base: float | Array,
    factor: Callable[[Array], Array],
    ratio: Callable[[Array], Array],
    resumed: Callable[[Array], Array] | None = None,
) -> Recurrence:
    """Make a schedule that multiplies: by ``factor(t)`` in all, by ``ratio(t)`` at step ``t``."""

    def closed(step: ArrayLike) -> Array:
        return base * factor(as_float(step))

    def move(t: Array) -> Affine:
        return ratio(t).astype(t.dtype), jnp.zeros_like(t)

    return Recurrence(closed, move, base, factor, resumed)


def sets(schedule: Schedule) -> Recurrence:
    """Make a schedule that sets the value, whatever it was; a `Recurrence` stays as it is."""
    if isinstance(schedule, Recurrence):
        return schedule
    if not callable(schedule):
        raise TypeError(f"expected a schedule, a function of the step; got {schedule!r}")

    def closed(step: ArrayLike) -> Array:
        return jnp.asarray(schedule(jnp.asarray(step))).astype(float)

    return Recurrence(closed, lambda t: (jnp.zeros_like(t), closed(t)))
