"""Averaged gradient descent, with a step size that falls as a power."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, optional

__all__ = ["asgd"]


@factory
def asgd(
    lr: Hyperparameter = 1e-2,
    lambd: Hyperparameter = 1e-4,
    alpha: Hyperparameter = 0.75,
    t0: Hyperparameter = 1e6,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Averaged stochastic gradient descent, with a step size that falls as a power.

    .. math::
        p &\leftarrow (1 - \lambda_d \eta_t) p - \eta_t g_t, \qquad
        \eta_{t+1} = \frac{\gamma}{(1 + \lambda_d \gamma t)^\alpha} \\
        a_t &= a_{t-1} + \mu_t (p - a_{t-1}), \qquad \mu_{t+1} = \frac{1}{\max(1, t - t_0)}

    Args:
        lr: the learning rate γ, and the first step size.
        lambd: :math:`\lambda_d`, the decay of parameters and step size.
        alpha: the power.
        t0: the step at which averaging begins.
        weight_decay: λ, added to the gradient as ``λ p``.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slot ``ax``, the averaged parameters; the step sizes are in its
        memory.

    Raises:
        ValueError: a negative learning rate or weight decay.

    Example:
        >>> optimizer = optim.asgd(0.1, t0=0)
        >>> params = jnp.array([1.0])
        >>> updates, state = optimizer.update(params, optimizer.init(params), params)
        >>> round(float(state.slots["ax"][0]), 3)
        0.9

    Reference: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.ASGD.html
    """
    hyper = Settings(
        lr=number(lr), lambd=lambd, alpha=alpha, t0=t0, weight_decay=optional(weight_decay)
    )

    def advance(h: Numbers, sums: dict[str, Array]) -> dict[str, Array]:
        eta = jnp.where(h.step == 1, h.lr, h.memory.next_eta)
        return {"eta": eta, "next_eta": h.lr / jnp.power(1 + h.lambd * h.lr * h.step, h.alpha)}

    def rule(h: Numbers) -> Move:
        eta = h.memory.eta
        mu = 1 / jnp.maximum(1, h.step - 1 - h.t0)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=True)
            update = -eta * (g + h.lambd * p)
            return update, {"ax": slots["ax"] + mu * (p + update - slots["ax"])}

        return move

    return from_rule(
        "asgd",
        rule,
        zeros_slot("ax"),
        hyper=hyper,
        reads_params=True,
        memory={"eta": 0.0, "next_eta": 0.0},
        advance=advance,
    )
