"""Adadelta: steps scaled by the ratio of past steps to past gradients."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["adadelta"]


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
    check_numbers(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
    if isinstance(rho, int | float) and rho > 1:
        raise ValueError(f"rho must be in [0, 1]; got {rho!r}")
    decayed = in_use(weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, decayed)
            v = h.rho * slots["square_avg"] + (1 - h.rho) * (g * g)
            delta = jnp.sqrt(slots["acc_delta"] + h.eps) / jnp.sqrt(v + h.eps) * g
            u = h.rho * slots["acc_delta"] + (1 - h.rho) * (delta * delta)
            return -h.lr * delta, {"square_avg": v, "acc_delta": u}

        return move

    return from_rule(
        "adadelta",
        rule,
        zeros_slot("square_avg", "acc_delta"),
        reads_params=decayed,
        hyper={"lr": lr, "rho": rho, "eps": eps, "weight_decay": used(weight_decay)},
    )
