"""Lion: the sign of an interpolation between momentum and gradient."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import decoupled_decay, from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["lion"]


@factory
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
    hyper = Settings(
        lr=number(lr), betas=numbers(betas, 2, below=1), weight_decay=optional(weight_decay)
    )

    def rule(h: Numbers) -> Move:
        interpolate, remember = map(moving_average, h.betas)
        shrink = decoupled_decay(h)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=False)
            m = slots["exp_avg"]
            update = -h.lr * jnp.sign(interpolate(m, g))
            return shrink(update, p), {"exp_avg": remember(m, g)}

        return move

    slots = zeros_slot("exp_avg")
    return from_rule("lion", rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)
