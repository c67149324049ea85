"""Adan: Nesterov momentum from differences of gradients."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["adan"]


@factory
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
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 3, below=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def rule(h: Numbers) -> Move:
        mean, mean_difference, mean_square = map(moving_average, h.betas)
        beta2 = h.betas[1]
        unbias1, unbias2 = (1 / bias_correction(beta, h.step) for beta in h.betas[:2])
        unbias3 = 1 / jnp.sqrt(bias_correction(h.betas[2], h.step))
        later = (h.step > 1).astype(h.step.dtype)
        shrink = None if h.weight_decay is None else h.lr * h.weight_decay

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=False)
            difference = later * (g - slots["prev"])
            m = mean(slots["exp_avg"], g)
            d = mean_difference(slots["exp_avg_diff"], difference)
            n = mean_square(slots["exp_avg_sq"], jnp.square(g + beta2 * difference))
            step = (unbias1 * m + beta2 * unbias2 * d) / (jnp.sqrt(n) * unbias3 + h.eps)
            update = -h.lr * step
            if shrink is not None:
                update = (update - shrink * p) / (1 + shrink)
            return update, {"exp_avg": m, "exp_avg_diff": d, "exp_avg_sq": n, "prev": g}

        return move

    slots = zeros_slot("exp_avg", "exp_avg_diff", "exp_avg_sq", "prev")
    return from_rule("adan", rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)
