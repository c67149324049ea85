"""RAdam: Adam whose second moment is used only once it can be trusted."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import decoupled_decay, from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["radam"]


@factory
def radam(
    lr: Hyperparameter = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adam that uses its second moment only once enough steps have been seen to trust it.

    .. math::
        \rho_\infty &= \frac{2}{1 - \beta_2} - 1, \qquad
        \rho_t = \rho_\infty - \frac{2 t \beta_2^t}{1 - \beta_2^t} \\
        r_t &= \sqrt{\frac{(\rho_t - 4)(\rho_t - 2)\rho_\infty}
                          {(\rho_\infty - 4)(\rho_\infty - 2)\rho_t}} \\
        p &\leftarrow p - \gamma \hat m_t \begin{cases}
            r_t \sqrt{1 - \beta_2^t} / (\sqrt{v_t} + \epsilon) & \rho_t > 5 \\ 1 & \text{else}
        \end{cases}

    Args:
        lr: the learning rate γ.
        betas: how slowly the two moments forget.
        eps: ε, added to the denominator.
        weight_decay: λ; added to the gradient as ``λ p``, or decoupled from it.
        decoupled_weight_decay: shrink the parameters by ``γ λ`` instead.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg`` and ``exp_avg_sq``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.radam(0.1)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> round(float(updates[0]), 3)
        -0.4

    Reference: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.RAdam.html
    """
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def rule(h: Numbers) -> Move:
        mean, mean_square = map(moving_average, h.betas)
        beta1, beta2 = h.betas
        step_size, correction = (
            h.lr / bias_correction(beta1, h.step),
            bias_correction(beta2, h.step),
        )
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * h.step * (1 - correction) / correction
        trusted = rho > 5
        safe = jnp.where(trusted, rho, 6)
        ratio = (safe - 4) * (safe - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * safe)
        rectifier = jnp.sqrt(jnp.where(trusted, ratio * correction, 1))
        shrink = decoupled_decay(h, decoupled_weight_decay)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=not decoupled_weight_decay)
            m = mean(slots["exp_avg"], g)
            v = mean_square(slots["exp_avg_sq"], g * g)
            adapted = jnp.where(trusted, rectifier / (jnp.sqrt(v) + h.eps), 1)
            return shrink(-step_size * m * adapted, p), {"exp_avg": m, "exp_avg_sq": v}

        return move

    slots = zeros_slot("exp_avg", "exp_avg_sq")
    return from_rule("radam", rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)
