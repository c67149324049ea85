"""Yogi: Adam whose second moment changes by steps of the gradient's own size."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["yogi"]


@factory
def yogi(
    lr: Hyperparameter = 1e-2,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: Hyperparameter = 1e-3,
    weight_decay: Hyperparameter = 0.0,
    initial_accumulator: float = 1e-6,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Yogi: Adam whose second moment changes by steps of the gradient's own size.

    .. math::
        v_t = v_{t-1} - (1 - \beta_2) \, \mathrm{sign}(v_{t-1} - g_t^2) \, g_t^2, \qquad
        p \leftarrow p - \gamma \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}

    Args:
        lr: the learning rate γ.
        betas: how slowly the two moments forget.
        eps: ε, added to the denominator.
        weight_decay: λ, added to the gradient as ``λ p``.
        initial_accumulator: :math:`v_0`.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg`` and ``exp_avg_sq``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.yogi(0.1, eps=0.0, initial_accumulator=0.0)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> round(float(updates[0]), 4)
        -0.1

    Reference: Zaheer et al., "Adaptive Methods for Nonconvex Optimization", NeurIPS 2018
    """
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def slots(p: Array) -> Slots:
        # A complex moment holds two reals, and both start there.
        first = initial_accumulator * (1 + 1j) if jnp.iscomplexobj(p) else initial_accumulator
        return {"exp_avg": jnp.zeros_like(p), "exp_avg_sq": jnp.full_like(p, first)}

    def rule(h: Numbers) -> Move:
        beta1, beta2 = h.betas
        mean, rest = moving_average(beta1), 1 - beta2
        step_size = h.lr / bias_correction(beta1, h.step)
        inverse_root = 1 / jnp.sqrt(bias_correction(beta2, h.step))

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=True)
            m = mean(slots["exp_avg"], g)
            v, square = slots["exp_avg_sq"], g * g
            v = v - rest * jnp.sign(v - square) * square
            update = -step_size * m / (jnp.sqrt(v) * inverse_root + h.eps)
            return update, {"exp_avg": m, "exp_avg_sq": v}

        return move

    return from_rule("yogi", rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)
