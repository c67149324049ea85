"""Schedules made of other schedules, of functions and of numbers."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike, Schedule
from funcnet.core.checks import check_positive
from funcnet.optim.schedules.steps import (
    Affine,
    Recurrence,
    as_float,
    as_index,
    as_step,
    base_value,
    finite,
    length,
    multiplies,
    sets,
    since,
)

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
    lr = base_value("lr", lr)

    def schedule(step: ArrayLike) -> Array:
        return finite(lr * finite(jnp.asarray(lr_lambda(as_float(step))).astype(float)))

    return schedule


def multiplicative(lr: float | Array, lr_lambda: Callable[[Array], ArrayLike]) -> Recurrence:
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

    def one(t: Array) -> Array:
        return jnp.asarray(lr_lambda(t)).astype(float)

    def product(first: int, t: Array) -> Array:
        def times(i: Array, so_far: Array) -> Array:
            return so_far * one(as_float(i))

        last = as_index(t)

        def turn(carry: tuple[Array, Array]) -> tuple[Array, Array]:
            i, so_far = carry
            return i + 1, finite(times(i, so_far))

        def goes_on(carry: tuple[Array, Array]) -> Array:
            # A product of zero stays zero, however long the run.
            i, so_far = carry
            return (i <= last) & (so_far != 0)

        start = (jnp.full((), first, jnp.int32), jnp.ones((), float))
        return jax.lax.while_loop(goes_on, turn, start)[1]

    def ratio(t: Array) -> Array:
        return jnp.where(t == 0, 1.0, one(jnp.maximum(t, 1)))

    return multiplies(lr, lambda t: product(1, t), ratio, resumed=lambda t: product(0, t))


def sequential(schedules: Sequence[Schedule], milestones: Sequence[int]) -> Recurrence:
    """Follow one schedule after another; each counts its steps from its own beginning.

    Each starts from its own base, but for `multiplicative`, which goes on from where the one before
    it ended, as in PyTorch.

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
    marks = [length("a milestone", mark, open_end=False) for mark in milestones]
    first, *rest = parts = [sets(schedule) for schedule in schedules]
    base = next((part.base for part in parts if part.base is not None), None)

    def begin(t: Array) -> Affine:
        scale, shift = first.move(t)
        return jnp.where(t == 0, 0, scale), jnp.where(t == 0, first(0), shift)

    joined = Recurrence(first.closed, begin, base)
    for milestone, following in zip(marks, rest, strict=True):
        joined = _followed(joined, following, milestone)
    return joined


def _followed(before: Recurrence, after: Recurrence, milestone: float) -> Recurrence:
    """Join two schedules at a milestone."""
    resumed = after.resumed if milestone > 0 else None

    def closed(step: ArrayLike) -> Array:
        # Before its milestone a schedule is not used, but it is evaluated: its time stays 0.
        reached, time = since(step, milestone)
        later = after(time) if resumed is None else before(milestone - 1) * resumed(as_float(time))
        return jnp.where(reached, later.astype(float), before(step).astype(float))

    def move(t: Array) -> Affine:
        scale, shift = after.move(jnp.maximum(t - milestone, 0))
        zero = jnp.zeros_like(t)
        turn = (zero, after(0).astype(t.dtype)) if resumed is None else (resumed(zero), zero)
        kept = before.move(t)
        cases = [t == milestone, t > milestone]
        return (
            jnp.select(cases, [turn[0], scale], kept[0]),
            jnp.select(cases, [turn[1], shift], kept[1]),
        )

    return Recurrence(closed, move, before.base)


def chained(schedules: Sequence[Schedule]) -> Recurrence:
    """Let several schedules act on one value, each on what those before it made of it.

    At every step each schedule makes its own move, in order: `step` multiplies by ``gamma`` when its
    time has come, `cosine` goes towards ``eta_min`` by its part of what is left, `lambda_` and
    others that know no recursive form set the value. Give all of them the same base.

    Schedules that only multiply keep a closed form, and so does what follows one that sets. With
    `cosine` among them the moves are made anew at each step, from the first on, 128 at a time.

    Args:
        schedules: what each would be alone: ``ChainedScheduler([A(o, x), B(o, y)])`` becomes
            ``chained([a(lr, x), b(lr, y)])``.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: no schedule, or bases that differ.

    Example:
        >>> warm, decay = optim.schedules.constant(4.0, 0.5, 2), optim.schedules.exponential(4.0, 0.5)
        >>> schedule = optim.schedules.chained([warm, decay])
        >>> [float(schedule(t)) for t in range(4)]
        [2.0, 1.0, 1.0, 0.5]

    Reference: ``torch.optim.lr_scheduler.ChainedScheduler``
    """
    parts = [sets(schedule) for schedule in schedules]
    bases = [part.base for part in parts if part.base is not None]
    if not parts:
        raise ValueError("chained needs at least one schedule; got none")
    if len({base for base in bases if isinstance(base, int | float)}) > 1:
        raise ValueError(f"chained schedules act on one value and share its base; got {bases}")
    base = parts[0].base
    # What comes before a schedule that sets the value leaves no trace.
    fixed = max((i for i, part in enumerate(parts) if part.base is None), default=None)

    def move(t: Array) -> Affine:
        scale, shift = parts[0].move(t)
        for part in parts[1:]:
            scale_then, shift_then = part.move(t)
            scale, shift = scale_then * scale, scale_then * shift + shift_then
        return scale, shift

    def after_fixed(step: ArrayLike) -> Array:
        assert fixed is not None
        value = parts[fixed](step)
        for part in parts[fixed + 1 :]:
            scale, shift = part.move(as_float(step))
            value = scale * value + shift
        return value

    factors = [part.factor for part in parts if part.factor is not None]
    if fixed is not None:
        return Recurrence(after_fixed, move, base)
    assert base is not None
    if len(factors) < len(parts):
        return Recurrence(lambda step: _moved(base, move, as_step(step)), move, base)

    def factor(t: Array) -> Array:
        return finite(functools.reduce(jnp.multiply, [one(t) for one in factors]))

    return Recurrence(lambda step: finite(base * factor(as_float(step))), move, base, factor)


def _moved(base: float | Array, move: Callable[[Array], Affine], last: Array) -> Array:
    """Make all moves from step 0 to the last, a block of them at a time."""
    block = 128

    def advance(i: Array, value: Array) -> Array:
        steps = i * block + jnp.arange(block, dtype=jnp.int32)
        scale, shift = jax.vmap(move)(as_float(steps))
        scale, shift = jnp.where(steps <= last, scale, 1), jnp.where(steps <= last, shift, 0)
        # A shift is multiplied by all scales that come after it.
        tail = finite(jax.lax.cumprod(scale, reverse=True))
        parts = [tail[:1] * value, shift[:-1] * tail[1:], shift[-1:]]
        return finite(jnp.sum(finite(jnp.concatenate(parts))))

    last = as_index(last)
    first = jnp.asarray(base, float)
    return jax.lax.fori_loop(0, last // block + 1, advance, first)


def piecewise(values: Sequence[float], boundaries: Sequence[int]) -> Schedule:
    """Hold one value after another: the second from step ``boundaries[0]`` on, and so forth.

    ``γ_t = values[k]``, where ``k`` is the number of boundaries up to ``t``.

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

    marks = [length("a boundary", mark, open_end=False) for mark in boundaries]
    for value in values:
        base_value("a value", value)

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        passed = jnp.sum(t >= jnp.asarray(np.array(marks, float), t.dtype)).astype(jnp.int32)
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
