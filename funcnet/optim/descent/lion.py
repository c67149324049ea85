"""Lion: the sign of an interpolation between momentum and gradient."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["lion"]


def lion(
    lr: Hyperparameter = 1e-4,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.99),
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Lion: the sign of an interpolation between momentum and gradient.

    .. math::
        c_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        m_t = \beta_2 m_{t-1} + (1 - \beta_2) g_t \\
        p &\leftarrow p - \gamma \left(\mathrm{sign}(c_t) + \lambda p\right)

    Args:
        lr: the learning rate γ; three to ten times smaller than AdamW's.
        betas: how much of the momentum goes into the step, and how slowly it forgets.
        weight_decay: λ, decoupled.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slot ``exp_avg``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.lion(0.5)
        >>> updates, _ = optimizer.update(jnp.array([4.0, 0.0]), optimizer.init(jnp.ones(2)))
        >>> updates.tolist()
        [-0.5, -0.0]

    Reference: Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023
    """
    check_numbers(lr=lr, weight_decay=weight_decay)
    check_tuple("betas", betas, 2, below=1.0)
    decayed = in_use(weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2 = h.betas

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled=False)
            m = slots["exp_avg"]
            direction = jnp.sign(beta1 * m + (1 - beta1) * g)
            direction = direction + h.weight_decay * p if decayed else direction
            return -h.lr * direction, {"exp_avg": beta2 * m + (1 - beta2) * g}

        return move

    return from_rule(
        "lion",
        rule,
        zeros_slot("exp_avg"),
        reads_params=decayed,
        hyper={"lr": lr, "betas": betas, "weight_decay": used(weight_decay)},
    )
