"""A learning rate that falls when a measured value stops improving: a schedule with a state."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, PyTree
from funcnet.core.checks import check_choice, check_non_negative
from funcnet.optim.leaf_rule import LAST_STEP, counted

__all__ = ["Plateau", "PlateauState", "reduce_on_plateau"]


class PlateauState(NamedTuple):
    """State of `reduce_on_plateau`: arrays only, so that it is saved with everything else.

    Attributes:
        lr: the learning rate, or the tree of them that ``init`` was given.
        best: the best value so far.
        bad_epochs: evaluations since then, those of a cooldown left out.
        cooldown: evaluations that are left of it.

    Example:
        >>> plateau = optim.schedules.reduce_on_plateau(patience=2)
        >>> state = plateau.update(plateau.update(plateau.init(1.0), 3.0), 4.0)
        >>> float(state.best), int(state.bad_epochs)
        (3.0, 1)
    """

    lr: PyTree
    best: Array
    bad_epochs: Array
    cooldown: Array


class Plateau(NamedTuple):
    """A pair of pure functions: ``init(lr) -> state`` and ``update(state, value) -> state``.

    Example:
        >>> plateau = optim.schedules.reduce_on_plateau(factor=0.5, patience=0)
        >>> state = plateau.init(1.0)
        >>> for value in (3.0, 3.0):
        ...     state = plateau.update(state, value)
        >>> float(state.lr)
        0.5
    """

    init: Callable[[PyTree], PlateauState]
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

    ``lr ← max(factor * lr, min_lr)`` after more than ``patience`` values without a new best one.

    After each evaluation, update the plateau's state with the value and put ``state.lr`` into the
    optimizer's state with `with_hyperparams`; nothing recompiles.

    Groups keep the ratios of their rates where ``init`` gets all of them, under the names that
    `hyperparams` gives: each is multiplied on its own, as in PyTorch. ``init(1.0)`` makes ``state.lr``
    a factor for rates that are kept elsewhere.

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
        ValueError: an unknown mode, a factor that is not in [0, 1), or negative patience or cooldown.

    Example:
        >>> plateau = optim.schedules.reduce_on_plateau(factor=0.5, patience=0)
        >>> state = plateau.init(1.0)
        >>> rates = []
        >>> for value in (3.0, 2.0, 2.0, 2.0):
        ...     state = plateau.update(state, value)
        ...     rates.append(float(state.lr))
        >>> rates
        [1.0, 1.0, 0.5, 0.25]
        >>> optimizer = optim.groups({"head": optim.sgd(0.5), "*": optim.sgd(0.25)})
        >>> opt_state = optimizer.init({"head": jnp.ones(1), "body": jnp.ones(1)})
        >>> state = plateau.init(optim.hyperparams(opt_state))
        >>> for value in (1.0, 2.0):
        ...     state = plateau.update(state, value)
        >>> opt_state = optim.with_hyperparams(opt_state, state.lr)
        >>> {name: float(lr) for name, lr in optim.hyperparams(opt_state).items()}
        {'*.lr': 0.125, 'head.lr': 0.25}

    Reference: ``torch.optim.lr_scheduler.ReduceLROnPlateau``
    """
    check_choice("mode", mode, ("min", "max"))
    check_choice("threshold_mode", threshold_mode, ("rel", "abs"))
    if not 0 <= factor < 1:
        raise ValueError(f"factor must be at least zero and below one; got {factor}")
    check_non_negative("patience", patience)
    check_non_negative("cooldown", cooldown)
    # Counters stop at these, long before they could overflow.
    patience, cooldown = (min(int(steps), LAST_STEP - 1) for steps in (patience, cooldown))
    sign = 1 if mode == "min" else -1

    def better(value: Array, best: Array) -> Array:
        if threshold_mode == "abs":
            return sign * value < sign * best - threshold
        return sign * value < sign * best * (1 - sign * threshold)

    def init(lr: PyTree) -> PlateauState:
        zero = jnp.zeros((), jnp.int32)
        worst = jnp.asarray(sign * float("inf"), float)
        rates = jax.tree.map(lambda rate: jnp.array(rate, float), lr)
        return PlateauState(rates, worst, zero, zero.copy())

    def update(state: PlateauState, value: ArrayLike) -> PlateauState:
        value = jnp.asarray(value).astype(state.best.dtype)
        # Nothing was measured before: any number is better, whatever the threshold makes of infinity.
        first = jnp.isinf(state.best) & jnp.isfinite(value)
        improved = first | better(value, state.best)
        resting = state.cooldown > 0
        bad = jnp.where(improved | resting, 0, counted(state.bad_epochs))
        exhausted = bad > patience

        def lowered(rate: Array) -> Array:
            lower = jnp.maximum(rate * factor, min_lr)
            return jnp.where(exhausted & (rate - lower > eps), lower, rate)

        return PlateauState(
            jax.tree.map(lowered, state.lr),
            jnp.where(improved, value, state.best),
            jnp.where(exhausted, 0, bad),
            jnp.where(exhausted, cooldown, state.cooldown - resting.astype(jnp.int32)),
        )

    return Plateau(init, update)
