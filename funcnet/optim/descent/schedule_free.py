"""Schedule-free learning: an average of iterates takes the place of a falling learning rate."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.leaf_kinds import is_none, is_trainable
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.leaf_rule import jax_leaf
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import RuleState, decayed, from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["schedule_free_adamw", "schedule_free_params", "schedule_free_sgd"]


Direction = Callable[[Array, Slots], tuple[Array, Slots]]
"""``direction(gradient, slots) -> (step, slots)``: what tells one of the optimizers from another."""


@factory
def schedule_free_sgd(
    lr: Hyperparameter = 1.0,
    momentum: Hyperparameter = 0.9,
    weight_decay: Hyperparameter = 0.0,
    warmup_steps: int = 0,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Stochastic gradient descent that needs no schedule.

    .. math::
        z_{t+1} &= z_t - \gamma_t \, (g(y_t) + \lambda y_t), \qquad
        x_{t+1} = (1 - c_t)\, x_t + c_t\, z_{t+1} \\
        y_t &= (1 - \beta)\, z_t + \beta\, x_t, \qquad
        c_t = w_t \Big/ \textstyle\sum_{i \le t} w_i, \qquad w_t = t^r \gamma_{\max}^{\,q}

    The parameters are *y*, where gradients are taken; evaluate and save *x*, which
    `schedule_free_params` gives.

    Args:
        lr: the learning rate γ; larger than usual.
        momentum: β, how near to the average gradients are taken; above zero.
        weight_decay: λ, at *y*.
        warmup_steps: over how many steps γ rises from zero.
        r: the power by which later iterates weigh more.
        weight_lr_power: *q*.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slot ``z``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.schedule_free_sgd(0.5)
        >>> params = jnp.array([1.0])
        >>> updates, state = optimizer.update(jnp.array([1.0]), optimizer.init(params), params)
        >>> float(optim.schedule_free_params(state, params + updates)[0])
        0.5

    Reference: Defazio et al., "The Road Less Scheduled", NeurIPS 2024
    """
    hyper = Settings(
        lr=number(lr), momentum=number(momentum, below=1), weight_decay=optional(weight_decay)
    )

    def as_it_is(h: Numbers) -> Direction:
        return lambda g, slots: (g, {})

    weights = _Weights(warmup_steps, r, weight_lr_power)
    return _schedule_free("schedule_free_sgd", hyper, as_it_is, (), weights, maximize)


@factory
def schedule_free_adamw(
    lr: Hyperparameter = 2.5e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    warmup_steps: int = 0,
    r: float = 0.0,
    weight_lr_power: float = 2.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""AdamW that needs no schedule: `schedule_free_sgd` with gradients divided as in Adam.

    .. math:: v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \qquad
              g_t \leftarrow \frac{g_t}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Args:
        lr: the learning rate γ.
        betas: how near to the average gradients are taken (above zero), and how slowly the second
            moment forgets.
        eps: ε, added to the denominator.
        weight_decay: λ, at *y*.
        warmup_steps: over how many steps γ rises from zero.
        r: the power by which later iterates weigh more.
        weight_lr_power: the power of the learning rate in the weights.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``z`` and ``exp_avg_sq``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.schedule_free_adamw(0.1)
        >>> params = jnp.array([1.0])
        >>> updates, state = optimizer.update(jnp.array([5.0]), optimizer.init(params), params)
        >>> round(float(state.slots["z"][0]), 4)
        0.9

    Reference: Defazio et al., "The Road Less Scheduled", NeurIPS 2024
    """
    beta1, beta2 = numbers(betas, 2, below=1).checked("betas")
    hyper = Settings(
        lr=number(lr),
        momentum=beta1,
        beta2=beta2,
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def divided(h: Numbers) -> Direction:
        mean_square = moving_average(h.beta2)
        inverse_root = 1 / jnp.sqrt(bias_correction(h.beta2, h.step))

        def divide(g: Array, slots: Slots) -> tuple[Array, Slots]:
            v = mean_square(slots["exp_avg_sq"], g * g)
            return g / (jnp.sqrt(v) * inverse_root + h.eps), {"exp_avg_sq": v}

        return divide

    weights = _Weights(warmup_steps, r, weight_lr_power)
    return _schedule_free("schedule_free_adamw", hyper, divided, ("exp_avg_sq",), weights, maximize)


class _Weights(NamedTuple):
    """How the learning rate starts, and how much an iterate weighs in the average."""

    warmup_steps: int
    r: float
    weight_lr_power: float


def _schedule_free(
    name: str,
    hyper: Settings,
    direction_of: Callable[[Numbers], Direction],
    zeros: tuple[str, ...],
    weights: _Weights,
    maximize: bool,
) -> GradientTransformation:
    def slots(p: Array) -> Slots:
        return {"z": jnp.array(p, copy=True), **zeros_slot(*zeros)(p)}

    def rate(h: Numbers) -> Array:
        steps = weights.warmup_steps
        return h.lr * jnp.minimum(1, h.step / steps) if steps else h.lr

    def advance(h: Numbers, sums: dict[str, Array]) -> dict[str, Array]:
        largest = jnp.maximum(h.memory.largest, rate(h))
        weight = jnp.power(h.step, weights.r) * jnp.power(largest, weights.weight_lr_power)
        total = h.memory.total + weight
        share = jnp.where(total > 0, weight / jnp.where(total > 0, total, 1), 0)
        return {"largest": largest, "total": total, "share": share}

    def rule(h: Numbers) -> Move:
        share, gamma, direction = h.memory.share, rate(h), direction_of(h)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g, new = direction(oriented(g, p, h, maximize, coupled=False), slots)
            g = decayed(g, p, h)
            z = slots["z"]
            # x is not stored: y moves towards z as x does, and by its own share of the step.
            update = share * (z - p) + gamma * (h.momentum * (1 - share) - 1) * g
            return update, {"z": z - gamma * g, **new}

        return move

    return from_rule(
        name,
        rule,
        slots,
        hyper=hyper,
        reads_params=True,
        memory={"largest": 0.0, "total": 0.0, "share": 0.0},
        advance=advance,
    )


def schedule_free_params(state: RuleState, params: PyTree) -> PyTree:
    r"""Give the averaged parameters of a schedule-free optimizer: :math:`x = z + (y - z) / \beta`.

    Args:
        state: the optimizer's state.
        params: the parameters being trained, *y*.

    Returns:
        The parameters to evaluate and to save.

    Example:
        >>> state = optim.schedule_free_sgd(0.5).init(jnp.array([1.0]))
        >>> optim.schedule_free_params(state, jnp.array([1.0])).tolist()
        [1.0]
    """
    beta = state.hyper.as_dict()["momentum"]

    def average(y: Any, z: Any) -> Any:
        if not is_trainable(y):
            return y
        wide = jax_leaf(y).astype(z.dtype)
        return (z + (wide - z) / beta.astype(z.dtype)).astype(jnp.result_type(y))

    return jax.tree.map(average, params, state.slots["z"], is_leaf=is_none)
