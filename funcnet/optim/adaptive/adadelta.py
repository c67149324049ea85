"""Adadelta: steps scaled by the ratio of past steps to past gradients."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, optional

__all__ = ["adadelta"]


@factory
def adadelta(
    lr: Hyperparameter = 1.0,
    rho: Hyperparameter = 0.9,
    eps: Hyperparameter = 1e-6,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adadelta: the ratio of past steps' size to past gradients' size sets the scale.

    .. math::
        v_t &= \rho v_{t-1} + (1 - \rho) g_t^2, \qquad
        \Delta_t = \frac{\sqrt{u_{t-1} + \epsilon}}{\sqrt{v_t + \epsilon}} \, g_t \\
        u_t &= \rho u_{t-1} + (1 - \rho) \Delta_t^2, \qquad
        p \leftarrow p - \gamma \Delta_t

    Args:
        lr: the learning rate γ.
        rho: how slowly the two averages forget.
        eps: ε, added under both roots.
        weight_decay: λ, added to the gradient as ``λ p``.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``square_avg`` and ``acc_delta``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.adadelta()
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> round(float(updates[0]), 5)
        -0.00316

    Reference: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adadelta.html
    """
    hyper = Settings(
        lr=number(lr),
        rho=number(rho, at_most=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def rule(h: Numbers) -> Move:
        average = moving_average(h.rho)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=True)
            v = average(slots["square_avg"], g * g)
            delta = jnp.sqrt(slots["acc_delta"] + h.eps) / jnp.sqrt(v + h.eps) * g
            u = average(slots["acc_delta"], delta * delta)
            return -h.lr * delta, {"square_avg": v, "acc_delta": u}

        return move

    slots = zeros_slot("square_avg", "acc_delta")
    return from_rule("adadelta", rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)
