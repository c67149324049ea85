"""What schedules are made of: a closed form, and the move from one step to the next.

Alone, a schedule is its closed form. Where several act on one value (`chained`), each moves what the
others have left of it: ``value <- scale * value + shift``, as PyTorch's schedulers do.

Every schedule keeps one rule at its edges. Steps before 0 count as step 0; past its end a schedule holds its
last value, or goes on where it has no end; what would overflow is the largest finite number. Lengths may be
of any size; they and the values must be finite.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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


def as_step(step: ArrayLike) -> Array:
    """Convert a step count to an array; a Python number that is too large for an integer becomes a float."""
    if isinstance(step, int) and not -(2**31) <= step < 2**31:
        return jnp.asarray(float(step))
    return jnp.asarray(step)


def as_float(step: ArrayLike) -> Array:
    """Convert a step count to the default float dtype, in which schedules compute; from 0 on.

    A count that is infinite becomes one that is not, because infinity has no place in a cycle.
    """
    t = as_step(step).astype(float)
    return jnp.clip(t, 0.0, float(jnp.finfo(jnp.float32).max))


def as_index(step: Array) -> Array:
    """Convert a step count to ``int32`` for a loop; one that is larger becomes the largest there is."""
    if jnp.issubdtype(step.dtype, jnp.integer):
        return jnp.clip(step, 0, LAST_INDEX).astype(jnp.int32)
    return jnp.clip(step.astype(float), 0, LAST_INDEX).astype(jnp.int32)


# A multiple of 128 that float32 holds, so that one more block of steps does not overflow.
LAST_INDEX = 2**31 - 256


def finite(value: Array) -> Array:
    """Replace what overflowed by the largest finite number."""
    bound = float(jnp.finfo(value.dtype).max)
    return jnp.clip(value, -bound, bound)


def since(step: ArrayLike, milestone: float) -> tuple[Array, Array]:
    """Say whether a milestone is reached, and count the steps since; 0 before it.

    Integers stay integers, so that no step is lost among large counts.
    """
    t = as_step(step)
    if jnp.issubdtype(t.dtype, jnp.integer):
        t = jnp.maximum(t, 0)
        if milestone > jnp.iinfo(t.dtype).max:
            return jnp.zeros_like(t, bool), jnp.zeros_like(t)
        milestone = math.ceil(milestone)
        reached = t >= jnp.asarray(milestone, t.dtype)
        return reached, jnp.where(reached, t - jnp.asarray(milestone, t.dtype), 0)
    t = as_float(t)
    return t >= milestone, jnp.maximum(t - milestone, 0)


def length(name: str, value: Any, at_least: float = 0.0, open_end: bool = True) -> float:
    """Check a number of steps and make a float of it, for which no length is too large.

    Args:
        name: of the argument.
        value: what was given.
        at_least: the least that is allowed.
        open_end: whether ``at_least`` itself is refused.

    Raises:
        ValueError: out of range, infinite or no number.

    >>> length("T_max", 2**40)
    1099511627776.0
    """
    number = _plain(name, value)
    if not (number > at_least or (number == at_least and not open_end)):
        if open_end and at_least == 0:
            raise ValueError(f"{name} must be greater than zero; got {value!r}")
        raise ValueError(
            f"{name} must be {'above' if open_end else 'at least'} {at_least:g}; got {value!r}"
        )
    return number


def factor(name: str, value: Any) -> float:
    """Check a number that multiplies a value: finite and not negative, which would turn a rate's sign.

    >>> factor("gamma", 0.5)
    0.5
    """
    number = _plain(name, value)
    if number < 0:
        raise ValueError(f"{name} must not be negative; got {value!r}")
    return number


def _plain(name: str, value: Any) -> float:
    if not isinstance(value, int | float | np.number | np.ndarray | jax.Array) or np.ndim(value):
        raise TypeError(f"{name} must be a number; got {value!r}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite; got {value!r}")
    return number


def base_value(name: str, value: Any) -> Any:
    """Check a value of a schedule: a finite number, or a scalar array, whose value may not be known yet.

    >>> base_value("lr", 1)
    1.0
    """
    if isinstance(value, jax.Array | np.ndarray) and np.ndim(value) == 0:
        return jnp.asarray(value).astype(float)
    return _plain(name, value)


def multiplies(
    base: float | Array,
    factor: Callable[[Array], Array],
    ratio: Callable[[Array], Array],
    resumed: Callable[[Array], Array] | None = None,
) -> Recurrence:
    """Make a schedule that multiplies: by ``factor(t)`` in all, by ``ratio(t)`` at step ``t``."""
    base = base_value("lr", base)

    def bounded(t: Array) -> Array:
        return finite(factor(t))

    def closed(step: ArrayLike) -> Array:
        return finite(base * bounded(as_float(step)))

    def move(t: Array) -> Affine:
        return ratio(t).astype(t.dtype), jnp.zeros_like(t)

    return Recurrence(closed, move, base, bounded, resumed)


def sets(schedule: Schedule) -> Recurrence:
    """Make a schedule that sets the value, whatever it was; a `Recurrence` stays as it is."""
    if isinstance(schedule, Recurrence):
        return schedule
    if not callable(schedule):
        raise TypeError(f"expected a schedule, a function of the step; got {schedule!r}")

    def closed(step: ArrayLike) -> Array:
        return jnp.asarray(schedule(as_step(step))).astype(float)

    return Recurrence(closed, lambda t: (jnp.zeros_like(t), closed(t)))
