"""Schedules made of other schedules, of functions and of numbers."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike, Schedule
from funcnet.core.checks import check_positive
from funcnet.optim.schedules.steps import as_float

__all__ = ["chained", "lambda_", "multiplicative", "piecewise", "sequential", "values"]


def lambda_(lr: float | Array, lr_lambda: Callable[[Array], ArrayLike]) -> Schedule:
    r"""Multiply ``lr`` by a function of the step: :math:`\gamma_t = \gamma f(t)`.

    Args:
        lr: γ.
        lr_lambda: *f*, of the step as a float array; a function of ``jnp``.

    Returns:
        ``step -> value``.

    Example:
        >>> schedule = optim.schedules.lambda_(2.0, lambda t: 0.5**t)
        >>> [float(schedule(t)) for t in range(3)]
        [2.0, 1.0, 0.5]

    Reference: ``torch.optim.lr_scheduler.LambdaLR``
    """

    def schedule(step: ArrayLike) -> Array:
        return lr * jnp.asarray(lr_lambda(as_float(step))).astype(float)

    return schedule


def multiplicative(lr: float | Array, lr_lambda: Callable[[Array], ArrayLike]) -> Schedule:
    r"""Multiply by a function of the step at every step: :math:`\gamma_t = \gamma \prod_1^t f(i)`.

    The product is taken anew at each step, in a loop of *t* turns; where a closed form is known,
    `lambda_` is quicker.

    Args:
        lr: γ.
        lr_lambda: *f*, of the step as a float array; a function of ``jnp``.

    Returns:
        ``step -> value``.

    Example:
        >>> schedule = optim.schedules.multiplicative(1.0, lambda t: 1 / t)
        >>> [round(float(schedule(t)), 3) for t in range(4)]
        [1.0, 1.0, 0.5, 0.167]

    Reference: ``torch.optim.lr_scheduler.MultiplicativeLR``
    """

    def schedule(step: ArrayLike) -> Array:
        last = jnp.asarray(step).astype(jnp.int32)

        def times(i: Array, product: Array) -> Array:
            return product * jnp.asarray(lr_lambda(as_float(i))).astype(float)

        return lr * jax.lax.fori_loop(1, last + 1, times, jnp.ones((), float))

    return schedule


def sequential(schedules: Sequence[Schedule], milestones: Sequence[int]) -> Schedule:
    """Follow one schedule after another; each counts its steps from its own beginning.

    Args:
        schedules: the schedules.
        milestones: the steps at which the second, third, … take over.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: unless there is one milestone fewer than schedules, in rising order.

    Example:
        >>> rise, fall = optim.schedules.linear(1.0, 0.5, 1.0, 2), optim.schedules.exponential(1.0, 0.5)
        >>> schedule = optim.schedules.sequential([rise, fall], [2])
        >>> [float(schedule(t)) for t in range(5)]
        [0.5, 0.75, 1.0, 0.5, 0.25]

    Reference: ``torch.optim.lr_scheduler.SequentialLR``
    """
    if not schedules or len(milestones) != len(schedules) - 1:
        raise ValueError(
            f"sequential needs one milestone fewer than schedules; got {len(schedules)} schedules "
            f"and {len(milestones)} milestones"
        )
    if list(milestones) != sorted(milestones):
        raise ValueError(f"milestones must rise; got {list(milestones)}")

    def schedule(step: ArrayLike) -> Array:
        t = jnp.asarray(step)
        value = jnp.asarray(schedules[0](t)).astype(float)
        for milestone, following in zip(milestones, schedules[1:], strict=True):
            # Before its milestone a schedule is not used, but it is evaluated: keep its time valid.
            later = jnp.asarray(following(jnp.maximum(t - milestone, 0))).astype(float)
            value = jnp.where(t >= milestone, later, value)
        return value

    return schedule


def chained(lr: float | Array, factors: Sequence[Schedule]) -> Schedule:
    """Multiply ``lr`` by several schedules at once.

    Args:
        lr: the base value.
        factors: schedules built with a base of 1.

    Returns:
        ``step -> value``.

    Example:
        >>> warm, decay = optim.schedules.constant(1.0, 0.5, 2), optim.schedules.exponential(1.0, 0.5)
        >>> schedule = optim.schedules.chained(4.0, [warm, decay])
        >>> [float(schedule(t)) for t in range(4)]
        [2.0, 1.0, 1.0, 0.5]

    Reference: ``torch.optim.lr_scheduler.ChainedScheduler``, of schedulers that multiply
    """

    def schedule(step: ArrayLike) -> Array:
        value = lr * jnp.ones((), float)
        for factor in factors:
            value = value * factor(jnp.asarray(step))
        return value

    return schedule


def piecewise(values: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """Hold one value after another: the second from step ``boundaries[0]`` on, and so forth.

    Args:
        values: the values.
        boundaries: one fewer, in rising order.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: unless there is one boundary fewer than values, in rising order.

    Example:
        >>> schedule = optim.schedules.piecewise([1.0, 0.5, 0.1], [2, 3])
        >>> [round(float(schedule(t)), 2) for t in range(5)]
        [1.0, 1.0, 0.5, 0.1, 0.1]
    """
    if len(boundaries) != len(values) - 1 or list(boundaries) != sorted(boundaries):
        raise ValueError(
            "piecewise needs one boundary fewer than values, in rising order; got "
            f"{list(values)} and {list(boundaries)}"
        )

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        passed = jnp.sum(t >= jnp.asarray(np.array(boundaries, float), t.dtype)).astype(jnp.int32)
        return jnp.asarray(np.array(values, float), t.dtype)[passed]

    return schedule


def values(schedule: Schedule, steps: int) -> np.ndarray:
    """Evaluate a schedule at its first steps, to look at or to plot.

    Args:
        schedule: ``step -> value``.
        steps: how many.

    Returns:
        An array of ``steps`` numbers.

    Raises:
        ValueError: ``steps`` is not positive.

    Example:
        >>> optim.schedules.values(optim.schedules.linear(1.0, 0.0, 1.0, 4), 5).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    check_positive("steps", steps)
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(steps)))
