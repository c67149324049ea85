"""NovoGrad: momentum of gradients that are normalised layer by layer."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import decayed, from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["novograd"]


@factory
def novograd(
    lr: Hyperparameter = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.95, 0.98),
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""NovoGrad: momentum of gradients that are normalised layer by layer.

    .. math::
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) \|g_t\|^2, \quad v_1 = \|g_1\|^2 \\
        m_t &= \beta_1 m_{t-1} + \frac{g_t}{\sqrt{v_t} + \epsilon} + \lambda p, \qquad
        p \leftarrow p - \gamma m_t

    Args:
        lr: the learning rate γ.
        betas: how slowly the momentum and the layers' norms forget.
        eps: ε, added to the norm.
        weight_decay: λ.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg`` and ``exp_avg_sq``, one number a layer.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.novograd(1.0)
        >>> updates, state = optimizer.update(jnp.array([3.0, 4.0]), optimizer.init(jnp.ones(2)))
        >>> [round(float(u), 3) for u in updates], float(state.slots["exp_avg_sq"])
        ([-0.6, -0.8], 25.0)

    Reference: Ginsburg et al., "Stochastic Gradient Methods with Layer-wise Adaptive Moments", 2019
    """
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def slots(p: Array) -> Slots:
        real = jnp.zeros((), jnp.finfo(p.dtype).dtype)
        return {"exp_avg": jnp.zeros_like(p), "exp_avg_sq": real}

    def rule(h: Numbers) -> Move:
        beta1, beta2 = h.betas
        mean_square = moving_average(jnp.where(h.step == 1, 0, beta2))

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=False)
            v = mean_square(slots["exp_avg_sq"], jnp.sum(g * g))
            step = g / (jnp.sqrt(v) + h.eps)
            step = decayed(step, p, h)
            m = beta1 * slots["exp_avg"] + step
            return -h.lr * m, {"exp_avg": m, "exp_avg_sq": v}

        return move

    reads_params = "weight_decay" in hyper
    return from_rule("novograd", rule, slots, hyper=hyper, reads_params=reads_params, shaped=True)
