"""Schedules that go up and down: warm restarts, cyclic rates, one cycle."""

import math
from collections.abc import Callable

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Schedule
from funcnet.core.checks import check_choice, check_fraction
from funcnet.optim.schedules.steps import as_float, base_value, factor, finite, length

__all__ = ["cosine_warm_restarts", "cyclic", "one_cycle", "one_cycle_momentum"]


def cosine_warm_restarts(
    lr: float | Array, T_0: int, T_mult: int = 1, eta_min: float = 0.0
) -> Schedule:
    r"""Fall from ``lr`` to ``eta_min`` along a cosine, start again, each time for longer.

    .. math:: \gamma_t = \eta + \tfrac12 (\gamma - \eta) \left(1 + \cos(\pi t_i / T_i)\right),
              \qquad T_i = T_0 \, m^i

    where :math:`t_i` is the time since the latest restart.

    Args:
        lr: the value after each restart, γ.
        T_0: the length of the first period.
        T_mult: *m*, the factor from one period to the next.
        eta_min: η, the lowest value.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: ``T_0`` or ``T_mult`` is not a whole number from 1 on.

    Example:
        >>> schedule = optim.schedules.cosine_warm_restarts(1.0, T_0=2, T_mult=2)
        >>> [round(float(schedule(t)), 3) for t in range(7)]
        [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]

    Reference: Loshchilov and Hutter, "SGDR", ICLR 2017;
    ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``
    """
    for name, value in (("T_0", T_0), ("T_mult", T_mult)):
        if length(name, value) < 1 or value != int(value):
            raise ValueError(f"{name} must be a whole number of steps, at least 1; got {value!r}")
    first, ratio = float(T_0), float(T_mult)
    lr, eta_min = base_value("lr", lr), base_value("eta_min", eta_min)

    def fraction(t: Array) -> Array:
        """Give the time since the latest restart, as a part of that period."""
        if ratio == 1:
            return t % first / first

        def start(n: Array) -> Array:
            return jnp.round(first * ((jnp.power(ratio, n) - 1) / (ratio - 1)))

        n = jnp.floor(jnp.log(t / first * (ratio - 1) + 1) / math.log(ratio))
        # The logarithm may round across a whole number; the starts themselves are exact.
        n = jnp.where(t < start(n), n - 1, jnp.where(t >= start(n + 1), n + 1, n))
        return jnp.clip((t - start(n)) / (first * jnp.power(ratio, n)), 0, 1)

    def schedule(step: ArrayLike) -> Array:
        # Restarts of a time beyond this one are further apart than any run is long.
        t = jnp.minimum(as_float(step), 2.0**62)
        return eta_min + (lr - eta_min) * (1 + jnp.cos(math.pi * fraction(t))) / 2

    return schedule


def cyclic(
    base_lr: float | Array,
    max_lr: float | Array,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
    scale_fn: Callable[[Array], Array] | None = None,
    scale_mode: str = "cycle",
) -> Schedule:
    """Go from ``base_lr`` to ``max_lr`` and back along lines, over and over.

    ``γ_t = base_lr + (max_lr - base_lr) s_t h_t``, where ``s_t`` is the way from base to peak, from 0 to 1, and the
    height ``h_t`` is 1, ``2^(1 - cycle)`` or ``gamma^t`` by ``mode``.

    To cycle momentum the other way, as PyTorch's ``cycle_momentum`` does, give the optimizer
    ``momentum=cyclic(max_momentum, base_momentum, ...)`` with the same arguments otherwise.

    Args:
        base_lr: the value where cycles start and end.
        max_lr: the value at the peak.
        step_size_up: steps from base to peak.
        step_size_down: steps from peak to base; ``None`` for as many.
        mode: ``"triangular"``; ``"triangular2"``, whose peak halves each cycle; ``"exp_range"``,
            whose peak falls by ``gamma`` each step.
        gamma: the factor of ``"exp_range"``.
        scale_fn: multiplies the height, in place of ``mode``.
        scale_mode: whether ``scale_fn`` gets the number of the ``"cycle"``, from 1, or of the step
            (``"iterations"``).

    Returns:
        ``step -> value``.

    Raises:
        ValueError: an unknown mode, or a size that is not positive.

    Example:
        >>> schedule = optim.schedules.cyclic(0.0, 1.0, step_size_up=2)
        >>> [float(schedule(t)) for t in range(6)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]

    Reference: Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017;
    ``torch.optim.lr_scheduler.CyclicLR``
    """
    check_choice("mode", mode, ("triangular", "triangular2", "exp_range"))
    check_choice("scale_mode", scale_mode, ("cycle", "iterations"))
    up = length("step_size_up", step_size_up)
    down = (
        up if step_size_down is None else length("step_size_down", step_size_down, open_end=False)
    )
    total, gamma = up + down, factor("gamma", gamma)
    base_lr, max_lr = base_value("base_lr", base_lr), base_value("max_lr", max_lr)

    def height(cycle: Array, t: Array) -> Array:
        if scale_fn is not None:
            return scale_fn(cycle if scale_mode == "cycle" else t)
        if mode == "triangular2":
            return jnp.power(2.0, 1 - cycle)
        return (
            jnp.power(jnp.asarray(gamma, t.dtype), t) if mode == "exp_range" else jnp.ones_like(t)
        )

    def schedule(step: ArrayLike) -> Array:
        t = as_float(step)
        within = t % total
        cycle = 1 + jnp.round((t - within) / total)
        slope = jnp.where(within <= up, within / up, (total - within) / (down or 1.0))
        heights = finite(jnp.asarray(height(cycle, t)).astype(t.dtype))
        return finite(base_lr + (max_lr - base_lr) * jnp.clip(slope, 0, 1) * heights)

    return schedule


def _anneal(strategy: str, start: Array, end: Array, fraction: Array) -> Array:
    if strategy == "linear":
        # Both ends are exact, so that a last value of almost nothing is met.
        return start * (1 - fraction) + end * fraction
    return end + (start - end) / 2 * (1 + jnp.cos(math.pi * fraction))


def _phases(
    values: tuple[float | Array, ...],
    total_steps: int | None,
    epochs: int | None,
    steps_per_epoch: int | None,
    pct_start: float,
    anneal_strategy: str,
) -> Schedule:
    """Go through two or three phases; ``values`` are where they start and end."""
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError("give either total_steps, or epochs and steps_per_epoch")
        total_steps = epochs * steps_per_epoch
    total = length("total_steps", total_steps, 1, open_end=False)
    check_fraction("pct_start", pct_start)
    check_choice("anneal_strategy", anneal_strategy, ("cos", "linear"))
    last = total - 1
    turns = [pct_start * total - 1, 2 * pct_start * total - 2]
    ends = [*turns[: len(values) - 2], last]
    starts = [0.0, *ends[:-1]]

    def schedule(step: ArrayLike) -> Array:
        t = jnp.minimum(as_float(step), last)
        where = jnp.sum(t > jnp.asarray(ends[:-1], t.dtype)).astype(jnp.int32)
        begin, end = jnp.asarray(starts, t.dtype)[where], jnp.asarray(ends, t.dtype)[where]
        points = jnp.stack([jnp.asarray(value, t.dtype) for value in values])
        # A phase of no width is over where it begins.
        width = end - begin
        fraction = jnp.where(width > 0, (t - begin) / jnp.where(width > 0, width, 1), 1)
        fraction = jnp.clip(fraction, 0, 1)
        return _anneal(anneal_strategy, points[where], points[where + 1], fraction)

    return schedule


def one_cycle(
    max_lr: float | Array,
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Schedule:
    """Warm up to ``max_lr``, then fall far below where it began.

    ``γ_t = b + ½ (a - b) (1 + cos(π s))``, where each phase goes from ``a`` to ``b`` while ``s`` goes from 0 to 1; with
    ``"linear"`` it is ``γ_t = (1 - s) a + s b``. The first phase goes from ``max_lr / div_factor`` to ``max_lr``.

    After the last of its steps, where PyTorch's scheduler raises, it holds the last value. A phase of no
    width, at which PyTorch's divides by zero, is passed at once.

    PyTorch cycles the momentum too: give the optimizer `one_cycle_momentum` for ``momentum``, or
    for the first of ``betas``.

    Args:
        max_lr: the peak.
        total_steps: the number of steps in all, at least 1; or
        epochs: the number of epochs, with
        steps_per_epoch: their length.
        pct_start: the fraction of steps that rise.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        div_factor: the first value is ``max_lr / div_factor``.
        final_div_factor: the last is that, divided by this.
        three_phase: fall as fast as it rose, and then to the end.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: no length is given, or an argument is out of its range.

    Example:
        >>> schedule = optim.schedules.one_cycle(1.0, total_steps=11, pct_start=0.5)
        >>> [round(float(schedule(t)), 3) for t in (0, 4.5, 10)]
        [0.04, 1.0, 0.0]

    Reference: Smith and Topin, "Super-Convergence", 2018; ``torch.optim.lr_scheduler.OneCycleLR``
    """
    max_lr = base_value("max_lr", max_lr)
    first = max_lr / length("div_factor", div_factor)
    low = first / length("final_div_factor", final_div_factor)
    values = (first, max_lr, first, low) if three_phase else (first, max_lr, low)
    return _phases(values, total_steps, epochs, steps_per_epoch, pct_start, anneal_strategy)


def one_cycle_momentum(
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    three_phase: bool = False,
) -> Schedule:
    """Lower the momentum while `one_cycle` raises the learning rate, and raise it again.

    ``μ_t = b + ½ (a - b) (1 + cos(π s))``, where each phase goes from ``a`` to ``b`` while ``s`` goes from 0 to 1; with
    ``"linear"`` it is ``μ_t = (1 - s) a + s b``.

    Args:
        total_steps: the number of steps in all; or
        epochs: the number of epochs, with
        steps_per_epoch: their length.
        pct_start: the fraction of steps in which the momentum falls.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        base_momentum: the lowest momentum, at the learning rate's peak.
        max_momentum: the first and last.
        three_phase: as in `one_cycle`.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: no length is given, or an argument is out of its range.

    Example:
        >>> optimizer = optim.sgd(
        ...     optim.schedules.one_cycle(1.0, 100),
        ...     momentum=optim.schedules.one_cycle_momentum(100),
        ... )
        >>> state = optimizer.init(jnp.ones(2))
        >>> round(float(optim.hyperparams(state)["momentum"]), 3)
        0.95

    Reference: ``torch.optim.lr_scheduler.OneCycleLR``, ``cycle_momentum``
    """
    high, low = base_value("max_momentum", max_momentum), base_value("base_momentum", base_momentum)
    values = (high, low, high, high) if three_phase else (high, low, high)
    return _phases(values, total_steps, epochs, steps_per_epoch, pct_start, anneal_strategy)
