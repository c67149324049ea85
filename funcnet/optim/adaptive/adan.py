"""Adan: Nesterov momentum from differences of gradients."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import bias_correction
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["adan"]


def adan(
    lr: Hyperparameter = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter, Hyperparameter] = (0.98, 0.92, 0.99),
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adan: Nesterov momentum from differences of gradients, so that no point ahead is visited.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        d_t = \beta_2 d_{t-1} + (1 - \beta_2)(g_t - g_{t-1}) \\
        n_t &= \beta_3 n_{t-1} + (1 - \beta_3)\left(g_t + \beta_2 (g_t - g_{t-1})\right)^2 \\
        p &\leftarrow \left(p - \gamma \frac{\hat m_t + \beta_2 \hat d_t}
            {\sqrt{\hat n_t} + \epsilon}\right) \Big/ (1 + \gamma\lambda)

    The betas are one minus the paper's, as in its authors' code.

    Args:
        lr: the learning rate γ.
        betas: how slowly the three moments forget.
        eps: ε, added to the denominator.
        weight_decay: λ, decoupled and proximal.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg``, ``exp_avg_diff``, ``exp_avg_sq``, ``prev``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.adan(0.1)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> round(float(updates[0]), 4)
        -0.1

    Reference: Xie et al., "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep
    Models", TPAMI 2024
    """
    check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
    check_tuple("betas", betas, 3, below=1.0)
    decayed = in_use(weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2, beta3 = h.betas
        unbias1, unbias2 = (1 / bias_correction(beta, h.step) for beta in (beta1, beta2))
        unbias3 = 1 / jnp.sqrt(bias_correction(beta3, h.step))
        later = (h.step > 1).astype(h.step.dtype)

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled=False)
            difference = later * (g - slots["prev"])
            m = beta1 * slots["exp_avg"] + (1 - beta1) * g
            d = beta2 * slots["exp_avg_diff"] + (1 - beta2) * difference
            n = beta3 * slots["exp_avg_sq"] + (1 - beta3) * jnp.square(g + beta2 * difference)
            step = (unbias1 * m + beta2 * unbias2 * d) / (jnp.sqrt(n) * unbias3 + h.eps)
            update = -h.lr * step
            if decayed:
                shrink = h.lr * h.weight_decay
                update = (update - shrink * p) / (1 + shrink)
            return update, {"exp_avg": m, "exp_avg_diff": d, "exp_avg_sq": n, "prev": g}

        return move

    return from_rule(
        "adan",
        rule,
        zeros_slot("exp_avg", "exp_avg_diff", "exp_avg_sq", "prev"),
        reads_params=decayed,
        hyper={"lr": lr, "betas": betas, "eps": eps, "weight_decay": used(weight_decay)},
    )
