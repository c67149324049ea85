"""Adamax: Adam with the infinity norm in place of the second moment."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["adamax"]


@factory
def adamax(
    lr: Hyperparameter = 2e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adam with the infinity norm in place of the second moment.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        u_t = \max(\beta_2 u_{t-1}, |g_t| + \epsilon) \\
        p &\leftarrow p - \frac{\gamma}{1 - \beta_1^t} \frac{m_t}{u_t}

    Args:
        lr: the learning rate γ.
        betas: how slowly the moment and the norm forget.
        eps: ε, added to the size of the gradient.
        weight_decay: λ, added to the gradient as ``λ p``.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg`` and ``exp_inf``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.adamax(0.5)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> updates.round(4).tolist()
        [-0.5]

    Reference: Kingma and Ba, "Adam", ICLR 2015, section 7.1;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adamax.html
    """
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def rule(h: Numbers) -> Move:
        beta1, beta2 = h.betas
        mean = moving_average(beta1)
        step_size = h.lr / bias_correction(beta1, h.step)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=True)
            m = mean(slots["exp_avg"], g)
            u = jnp.maximum(beta2 * slots["exp_inf"], jnp.abs(g) + h.eps)
            return -step_size * m / u, {"exp_avg": m, "exp_inf": u}

        return move

    slots = zeros_slot("exp_avg", "exp_inf")
    return from_rule("adamax", rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)
