"""Adamax: Adam with the infinity norm in place of the second moment."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import bias_correction
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["adamax"]


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
    _check(lr, betas, eps, weight_decay)
    decayed = in_use(weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2 = h.betas
        step_size = h.lr / bias_correction(beta1, h.step)

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, decayed)
            m = beta1 * slots["exp_avg"] + (1 - beta1) * g
            u = jnp.maximum(beta2 * slots["exp_inf"], jnp.abs(g) + h.eps)
            return -step_size * m / u, {"exp_avg": m, "exp_inf": u}

        return move

    return from_rule(
        "adamax",
        rule,
        zeros_slot("exp_avg", "exp_inf"),
        reads_params=decayed,
        hyper={"lr": lr, "betas": betas, "eps": eps, "weight_decay": used(weight_decay)},
    )


def _check(
    lr: Hyperparameter,
    betas: tuple[Hyperparameter, Hyperparameter],
    eps: Hyperparameter,
    weight_decay: Hyperparameter,
) -> None:
    check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
    check_tuple("betas", betas, 2, below=1.0)
