"""Schedules for averages of parameters: the rate while one is taken, and how slowly it forgets."""

import math

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Schedule
from funcnet.core.checks import check_choice, check_fraction
from funcnet.optim.schedules.steps import Affine, Recurrence, as_float, base_value, length

__all__ = ["ema_decay", "swa"]


def swa(
    lr: float | Array,
    swa_lr: float | Array,
    anneal_epochs: int = 10,
    anneal_strategy: str = "cos",
) -> Recurrence:
    r"""Move from one rate to another and stay there: what stochastic weight averaging is trained with.

    .. math:: \gamma_t = \gamma + (\gamma' - \gamma)\, a(\min(t / n, 1)), \qquad
              a(s) = s \quad\text{or}\quad a(s) = \tfrac12 (1 - \cos \pi s)

    After another schedule: ``schedules.sequential([first, schedules.swa(...)], [swa_start])``, with ``lr`` what the
    first one ends with. In `chained` it moves what the others left.

    Args:
        lr: γ, the rate at step 0.
        swa_lr: γ', the rate from then on.
        anneal_epochs: *n*, how many steps the way takes; 0 begins with ``swa_lr``. Whoever counts epochs multiplies
            by the steps of one.
        anneal_strategy: ``"cos"`` or ``"linear"``.

    Returns:
        ``step -> value``.

    Raises:
        ValueError: a negative number of steps, or another word.

    Example:
        >>> schedule = optim.schedules.swa(1.0, 0.5, anneal_epochs=2, anneal_strategy="linear")
        >>> [float(schedule(t)) for t in range(4)]
        [1.0, 0.75, 0.5, 0.5]

    Reference: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018;
    ``torch.optim.swa_utils.SWALR``
    """
    total = length("anneal_epochs", anneal_epochs, open_end=False)
    check_choice("anneal_strategy", anneal_strategy, ("cos", "linear"))
    lr, swa_lr = base_value("lr", lr), base_value("swa_lr", swa_lr)

    def way_left(t: Array) -> Array:
        part = jnp.clip(t / total, 0, 1) if total > 0 else jnp.ones_like(t)
        # the squared cosine is exactly what is left of the way, also near its end
        left = jnp.square(jnp.cos(math.pi / 2 * part)) if anneal_strategy == "cos" else 1 - part
        return jnp.where(part == 1, 0, left)

    def closed(step: ArrayLike) -> Array:
        return swa_lr + (lr - swa_lr) * way_left(as_float(step))

    def move(t: Array) -> Affine:
        before = jnp.where(t > 0, way_left(t - 1), 1)
        scale = jnp.where(before > 0, way_left(t) / jnp.where(before > 0, before, 1), 0)
        return scale, swa_lr * (1 - scale)

    return Recurrence(closed, move, lr)


def ema_decay(decay: float = 0.999, warmup: float = 10.0) -> Schedule:
    r"""Let an exponential average forget quickly at first, so that it does not remember where training began.

    .. math:: d_n = \min\left(d, \frac{1 + n}{w + n}\right)

    Args:
        decay: *d*, what it becomes.
        warmup: *w*, at least 1, which is none; the larger, the longer the average follows the latest parameters.

    Returns:
        ``number of averages taken -> decay``, for ``optim.average(optimizer, decay=...)``.

    Raises:
        ValueError: ``decay`` is not in [0, 1], or ``warmup`` is below 1.

    Example:
        >>> schedule = optim.schedules.ema_decay(0.9)
        >>> [round(float(schedule(n)), 3) for n in (0, 1, 8, 1000)]
        [0.1, 0.182, 0.5, 0.9]

    Reference: ``num_updates`` of TensorFlow's ``tf.train.ExponentialMovingAverage``
    """
    check_fraction("decay", decay)
    warmup = length("warmup", warmup, 1, open_end=False)

    def schedule(step: ArrayLike) -> Array:
        n = as_float(step)
        return jnp.minimum(1 - (warmup - 1) / (warmup + n), decay)

    return schedule
