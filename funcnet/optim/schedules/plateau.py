"""A learning rate that falls when a measured value stops improving: a schedule with a state."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike
from funcnet.core.checks import check_choice

__all__ = ["Plateau", "PlateauState", "reduce_on_plateau"]


class PlateauState(NamedTuple):
    """State of `reduce_on_plateau`: scalars only, so that it is saved with everything else."""

    lr: Array
    best: Array
    bad_epochs: Array
    cooldown: Array


class Plateau(NamedTuple):
    """A pair of pure functions: ``init(lr) -> state`` and ``update(state, value) -> state``."""

    init: Callable[[ArrayLike], PlateauState]
    update: Callable[[PlateauState, ArrayLike], PlateauState]


def reduce_on_plateau(
    mode: str = "min",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: str = "rel",
    cooldown: int = 0,
    min_lr: float = 0.0,
    eps: float = 1e-8,
) -> Plateau:
    """Lower the learning rate when a measured value has not improved for a while.

    After each evaluation, update the plateau's state with the value and put ``state.lr`` into the
    optimizer's state with `with_hyperparams`; nothing recompiles.

    Args:
        mode: whether ``"min"`` or ``"max"`` of the value is good.
        factor: what the learning rate is multiplied by.
        patience: how many bad evaluations in a row are borne; the next one lowers it.
        threshold: by how much a value has to improve on the best.
        threshold_mode: relative to the best (``"rel"``), or ``"abs"``.
        cooldown: evaluations after a change in which none counts as bad.
        min_lr: the lowest learning rate.
        eps: changes no larger than this are not made.

    Returns:
        A pair ``(init, update)``.

    Raises:
        ValueError: an unknown mode, or a factor that is not below one.

    Example:
        >>> plateau = optim.schedules.reduce_on_plateau(factor=0.5, patience=0)
        >>> state = plateau.init(1.0)
        >>> rates = []
        >>> for value in (3.0, 2.0, 2.0, 2.0):
        ...     state = plateau.update(state, value)
        ...     rates.append(float(state.lr))
        >>> rates
        [1.0, 1.0, 0.5, 0.25]

    Reference: ``torch.optim.lr_scheduler.ReduceLROnPlateau``
    """
    check_choice("mode", mode, ("min", "max"))
    check_choice("threshold_mode", threshold_mode, ("rel", "abs"))
    if factor >= 1:
        raise ValueError(f"factor must be below one; got {factor}")
    sign = 1 if mode == "min" else -1

    def better(value: Array, best: Array) -> Array:
        if threshold_mode == "abs":
            return sign * value < sign * best - threshold
        return sign * value < sign * best * (1 - sign * threshold)

    def init(lr: ArrayLike) -> PlateauState:
        zero = jnp.zeros((), jnp.int32)
        worst = jnp.asarray(sign * float("inf"), float)
        return PlateauState(jnp.asarray(lr, float), worst, zero, zero.copy())

    def update(state: PlateauState, value: ArrayLike) -> PlateauState:
        value = jnp.asarray(value).astype(state.best.dtype)
        improved = better(value, state.best)
        resting = state.cooldown > 0
        bad = jnp.where(improved | resting, 0, state.bad_epochs + 1)
        exhausted = bad > patience
        lower = jnp.maximum(state.lr * factor, min_lr)
        return PlateauState(
            jnp.where(exhausted & (state.lr - lower > eps), lower, state.lr),
            jnp.where(improved, value, state.best),
            jnp.where(exhausted, 0, bad),
            jnp.where(exhausted, cooldown, state.cooldown - resting.astype(jnp.int32)),
        )

    return Plateau(init, update)
