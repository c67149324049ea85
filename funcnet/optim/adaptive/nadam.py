"""NAdam: Adam with Nesterov momentum."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import decoupled_decay, from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["nadam"]


@factory
def nadam(
    lr: Hyperparameter = 2e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    momentum_decay: Hyperparameter = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adam with Nesterov momentum, whose coefficient grows over the steps.

    .. math::
        \mu_t &= \beta_1 \left(1 - \tfrac12\, 0.96^{t \psi}\right) \\
        \hat m_t &= \mu_{t+1} m_t \Big/ \Big(1 - \prod_{i \le t+1} \mu_i\Big)
                  + (1 - \mu_t) g_t \Big/ \Big(1 - \prod_{i \le t} \mu_i\Big) \\
        p &\leftarrow p - \gamma \, \hat m_t
            \Big/ \left(\sqrt{v_t / (1 - \beta_2^t)} + \epsilon\right)

    Args:
        lr: the learning rate γ.
        betas: how slowly the two moments forget.
        eps: ε, added to the denominator.
        weight_decay: λ; added to the gradient as ``λ p``, or decoupled from it.
        momentum_decay: ψ.
        decoupled_weight_decay: shrink the parameters by ``γ λ`` instead.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg`` and ``exp_avg_sq``; the product of the μ is in its
        memory.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.nadam(0.1)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> round(float(updates[0]), 3)
        -0.106

    Reference: Dozat, "Incorporating Nesterov Momentum into Adam", 2016;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.NAdam.html
    """
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
        momentum_decay=number(momentum_decay),
    )

    def mu(h: Numbers, step: Array) -> Array:
        return h.betas[0] * (1 - 0.5 * jnp.power(0.96, step * h.momentum_decay))

    def advance(h: Numbers, sums: dict[str, Array]) -> dict[str, Array]:
        return {"mu_product": h.memory.mu_product * mu(h, h.step)}

    def rule(h: Numbers) -> Move:
        mean, mean_square = map(moving_average, h.betas)
        product, mu_next = h.memory.mu_product, mu(h, h.step + 1)
        g_rate = h.lr * (1 - mu(h, h.step)) / (1 - product)
        m_rate = h.lr * mu_next / (1 - product * mu_next)
        correction = bias_correction(h.betas[1], h.step)
        shrink = decoupled_decay(h, decoupled_weight_decay)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=not decoupled_weight_decay)
            m = mean(slots["exp_avg"], g)
            v = mean_square(slots["exp_avg_sq"], g * g)
            update = -(g_rate * g + m_rate * m) / (jnp.sqrt(v / correction) + h.eps)
            return shrink(update, p), {"exp_avg": m, "exp_avg_sq": v}

        return move

    return from_rule(
        "nadam",
        rule,
        zeros_slot("exp_avg", "exp_avg_sq"),
        hyper=hyper,
        reads_params="weight_decay" in hyper,
        memory={"mu_product": 1.0},
        advance=advance,
    )
