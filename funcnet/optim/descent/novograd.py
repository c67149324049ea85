"""NovoGrad: momentum of gradients that are normalised layer by layer."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule, oriented

__all__ = ["novograd"]


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
    check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
    check_tuple("betas", betas, 2, below=1.0)
    decayed = in_use(weight_decay)

    def slots(p: Array) -> dict[str, Array]:
        real = jnp.zeros((), jnp.finfo(p.dtype).dtype)
        return {"exp_avg": jnp.zeros_like(p), "exp_avg_sq": real}

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2 = h.betas
        keep = jnp.where(h.step == 1, 0, beta2)

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled=False)
            v = keep * slots["exp_avg_sq"] + (1 - keep) * jnp.sum(g * g)
            step = g / (jnp.sqrt(v) + h.eps)
            step = step + h.weight_decay * p if decayed else step
            m = beta1 * slots["exp_avg"] + step
            return -h.lr * m, {"exp_avg": m, "exp_avg_sq": v}

        return move

    return from_rule(
        "novograd",
        rule,
        slots,
        reads_params=decayed,
        shaped=True,
        hyper={"lr": lr, "betas": betas, "eps": eps, "weight_decay": used(weight_decay)},
    )
