"""Other moments than Adam's: Yogi, Adan, and Sophia's diagonal of the Hessian."""

from collections.abc import Callable
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, PyTree
from funcnet.optim.adaptive.adam import bias_correction
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move, is_trainable
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["adan", "hutchinson", "sophia", "yogi"]


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
    check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
    check_tuple("betas", betas, 2, below=1.0)
    decayed = in_use(weight_decay)

    def slots(p: Array) -> dict[str, Array]:
        first = initial_accumulator * (1 + 1j) if jnp.iscomplexobj(p) else initial_accumulator
        return {"exp_avg": jnp.zeros_like(p), "exp_avg_sq": jnp.full_like(p, first)}

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2 = h.betas
        step_size = h.lr / bias_correction(beta1, h.step)
        inverse_root = 1 / jnp.sqrt(bias_correction(beta2, h.step))

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, decayed)
            m = beta1 * slots["exp_avg"] + (1 - beta1) * g
            v, square = slots["exp_avg_sq"], g * g
            v = v - (1 - beta2) * jnp.sign(v - square) * square
            update = -step_size * m / (jnp.sqrt(v) * inverse_root + h.eps)
            return update, {"exp_avg": m, "exp_avg_sq": v}

        return move

    return from_rule(
        "yogi",
        rule,
        slots,
        reads_params=decayed,
        hyper={"lr": lr, "betas": betas, "eps": eps, "weight_decay": used(weight_decay)},
    )


def adan(
    lr: Hyperparameter = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter, Hyperparameter] = (0.98, 0.92, 0.99),
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adan: Nesterov momentum from differences of gradients, so that no point ahead is visited.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        d_t = \beta_2 d_{t-1} + (1 - \beta_2)(g_t - g_{t-1}) \\
        n_t &= \beta_3 n_{t-1} + (1 - \beta_3)\left(g_t + \beta_2 (g_t - g_{t-1})\right)^2 \\
        p &\leftarrow \left(p - \gamma \frac{\hat m_t + \beta_2 \hat d_t}
            {\sqrt{\hat n_t} + \epsilon}\right) \Big/ (1 + \gamma\lambda)

    The betas are one minus the paper's, as in its authors' code.

    Args:
        lr: the learning rate γ.
        betas: how slowly the three moments forget.
        eps: ε, added to the denominator.
        weight_decay: λ, decoupled and proximal.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg``, ``exp_avg_diff``, ``exp_avg_sq``, ``prev``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.adan(0.1)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> round(float(updates[0]), 4)
        -0.1

    Reference: Xie et al., "Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep
    Models", TPAMI 2024
    """
    check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
    check_tuple("betas", betas, 3, below=1.0)
    decayed = in_use(weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2, beta3 = h.betas
        unbias1, unbias2 = (1 / bias_correction(beta, h.step) for beta in (beta1, beta2))
        unbias3 = 1 / jnp.sqrt(bias_correction(beta3, h.step))
        later = (h.step > 1).astype(h.step.dtype)

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled=False)
            difference = later * (g - slots["prev"])
            m = beta1 * slots["exp_avg"] + (1 - beta1) * g
            d = beta2 * slots["exp_avg_diff"] + (1 - beta2) * difference
            n = beta3 * slots["exp_avg_sq"] + (1 - beta3) * jnp.square(g + beta2 * difference)
            step = (unbias1 * m + beta2 * unbias2 * d) / (jnp.sqrt(n) * unbias3 + h.eps)
            update = -h.lr * step
            if decayed:
                shrink = h.lr * h.weight_decay
                update = (update - shrink * p) / (1 + shrink)
            return update, {"exp_avg": m, "exp_avg_diff": d, "exp_avg_sq": n, "prev": g}

        return move

    return from_rule(
        "adan",
        rule,
        zeros_slot("exp_avg", "exp_avg_diff", "exp_avg_sq", "prev"),
        reads_params=decayed,
        hyper={"lr": lr, "betas": betas, "eps": eps, "weight_decay": used(weight_decay)},
    )


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


def hutchinson(loss: Callable[[PyTree], Array], key: Key) -> Callable[[PyTree], PyTree]:
    r"""Estimate the diagonal of a loss's Hessian with one random vector of signs.

    .. math:: \hat h = u \odot \nabla^2 f(p)\, u, \qquad u_i = \pm 1, \qquad
              \mathbb{E}\,\hat h = \mathrm{diag}\, \nabla^2 f(p)

    Args:
        loss: a function of the parameters alone.
        key: for the signs.

    Returns:
        A function of the parameters that returns a pytree like them.

    Example:
        >>> optim.hutchinson(lambda p: jnp.sum(p**3), jax.random.key(0))(jnp.ones(2)).tolist()
        [6.0, 6.0]

    Reference: Hutchinson, "A Stochastic Estimator of the Trace of the Influence Matrix", 1989
    """

    def estimate(params: PyTree) -> PyTree:
        leaves, treedef = jax.tree.flatten(params)
        keys = jax.random.split(key, max(len(leaves), 1))
        signs = treedef.unflatten(
            [
                jax.random.rademacher(one, p.shape, p.dtype) if is_trainable(p) else p
                for one, p in zip(keys, leaves, strict=False)
            ]
        )
        product = jax.jvp(jax.grad(loss), (params,), (signs,))[1]
        return jax.tree.map(jnp.multiply, signs, product)

    return estimate
