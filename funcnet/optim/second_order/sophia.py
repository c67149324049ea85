"""Sophia: momentum divided by an estimate of the Hessian's diagonal, and clipped."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import decoupled_decay, from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["sophia"]


@factory
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
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        rho=number(rho),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def rule(h: Numbers) -> Move:
        mean, mean_curvature = map(moving_average, h.betas)
        shrink = decoupled_decay(h)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=False)
            m = mean(slots["exp_avg"], g)
            curvature = slots["hessian_avg"]
            if "hessian" in slots:
                curvature = mean_curvature(curvature, slots["hessian"])
            update = -h.lr * jnp.clip(m / jnp.maximum(h.rho * curvature, h.eps), -1, 1)
            return shrink(update, p), {"exp_avg": m, "hessian_avg": curvature}

        return move

    return from_rule(
        "sophia",
        rule,
        zeros_slot("exp_avg", "hessian_avg"),
        hyper=hyper,
        reads_params="weight_decay" in hyper,
        reads=("hessian",),
    )
