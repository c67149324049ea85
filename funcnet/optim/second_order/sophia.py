"""Sophia: momentum divided by an estimate of the Hessian's diagonal, and clipped."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["sophia"]


def sophia(
    lr: Hyperparameter = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.96, 0.99),
    rho: Hyperparameter = 0.01,
    eps: Hyperparameter = 1e-12,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Sophia: momentum divided by the curvature of each number, and clipped.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        h_t = \beta_2 h_{t-1} + (1 - \beta_2) \hat h_t \\
        p \leftarrow (1 - \gamma\lambda) p
            - \gamma \, \mathrm{clip}\!\left(\frac{m_t}{\max(\rho h_t, \epsilon)}, 1\right)

    An estimate of the Hessian's diagonal goes into ``update`` as ``hessian=``, in the paper every
    ten steps; without it the moving average stays. `hutchinson` makes one.

    Args:
        lr: the learning rate γ.
        betas: how slowly the momentum and the curvature forget.
        rho: how much of the curvature is used.
        eps: the least denominator.
        weight_decay: λ, decoupled.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg`` and ``hessian_avg``; its ``update`` takes
        ``hessian=``, a pytree like the parameters.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> def loss(p):
        ...     return jnp.sum(jnp.array([1.0, 100.0]) * p**2)
        >>> optimizer, params = optim.sophia(0.1, rho=1.0), jnp.ones(2)
        >>> curvature = optim.hutchinson(loss, jax.random.key(0))(params)
        >>> grads, state = jax.grad(loss)(params), optimizer.init(params)
        >>> updates, state = optimizer.update(grads, state, params, hessian=curvature)
        >>> [round(float(u), 3) for u in updates]
        [-0.1, -0.1]

    Reference: Liu et al., "Sophia: A Scalable Stochastic Second-order Optimizer for Language Model
    Pre-training", ICLR 2024
    """
    check_numbers(lr=lr, eps=eps, rho=rho, weight_decay=weight_decay)
    check_tuple("betas", betas, 2, below=1.0)
    decayed = in_use(weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2 = h.betas

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled=False)
            m = beta1 * slots["exp_avg"] + (1 - beta1) * g
            curvature = slots["hessian_avg"]
            if "hessian" in slots:
                curvature = beta2 * curvature + (1 - beta2) * slots["hessian"]
            update = -h.lr * jnp.clip(m / jnp.maximum(h.rho * curvature, h.eps), -1, 1)
            update = update - h.lr * h.weight_decay * p if decayed else update
            return update, {"exp_avg": m, "hessian_avg": curvature}

        return move

    return from_rule(
        "sophia",
        rule,
        zeros_slot("exp_avg", "hessian_avg"),
        reads_params=decayed,
        reads=("hessian",),
        hyper={
            "lr": lr,
            "betas": betas,
            "rho": rho,
            "eps": eps,
            "weight_decay": used(weight_decay),
        },
    )
