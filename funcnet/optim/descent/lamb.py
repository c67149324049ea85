"""Steps scaled by the norm of each layer: LARS, LAMB, NovoGrad."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import bias_correction
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["lamb", "lars", "novograd"]


def leaf_norm(x: Array) -> Array:
    """Compute the Euclidean norm of one array."""
    return jnp.sqrt(jnp.sum(x * x))


def _ratio(p_norm: Array, denominator: Array) -> Array:
    """Divide two norms; where either is zero, let the step be as it is."""
    usable = (p_norm > 0) & (denominator > 0)
    return jnp.where(usable, p_norm / jnp.where(usable, denominator, 1), 1)


def lars(
    lr: Hyperparameter = 1.0,
    momentum: Hyperparameter = 0.9,
    weight_decay: Hyperparameter = 0.0,
    trust_coefficient: Hyperparameter = 1e-3,
    eps: Hyperparameter = 0.0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""LARS: momentum in which each layer's step is in proportion to its weights.

    .. math::
        v &\leftarrow \mu v + \gamma \, \frac{\eta \|p\|}{\|g\| + \lambda \|p\| + \epsilon}
            \, (g + \lambda p), \qquad p \leftarrow p - v

    Exclude biases and normalisation with `groups`, as the paper's authors do.

    Args:
        lr: the global learning rate γ.
        momentum: μ.
        weight_decay: λ.
        trust_coefficient: η.
        eps: ε.
        nesterov: look ahead along the momentum.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slot ``momentum_buffer``.

    Raises:
        ValueError: a negative number.

    Example:
        >>> optimizer = optim.lars(1.0, trust_coefficient=0.1)
        >>> params = jnp.array([3.0, 4.0])
        >>> updates, _ = optimizer.update(jnp.array([0.0, 2.0]), optimizer.init(params), params)
        >>> updates.tolist()
        [-0.0, -0.5]

    Reference: You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", 2017
    """
    check_numbers(lr=lr, momentum=momentum, weight_decay=weight_decay, eps=eps)
    decayed = in_use(weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled=False)
            p_norm, size = leaf_norm(p), leaf_norm(g)
            if decayed:
                size, g = size + h.weight_decay * p_norm, g + h.weight_decay * p
            known = (p_norm > 0) & (size > 0)
            trust = jnp.where(known, h.trust_coefficient * _ratio(p_norm, size + h.eps), 1)
            step = h.lr * trust * g
            velocity = h.momentum * slots["momentum_buffer"] + step
            update = step + h.momentum * velocity if nesterov else velocity
            return -update, {"momentum_buffer": velocity}

        return move

    return from_rule(
        "lars",
        rule,
        zeros_slot("momentum_buffer"),
        reads_params=True,
        shaped=True,
        hyper={
            "lr": lr,
            "momentum": momentum,
            "weight_decay": used(weight_decay),
            "trust_coefficient": trust_coefficient,
            "eps": eps,
        },
    )


def lamb(
    lr: Hyperparameter = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: Hyperparameter = 1e-6,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""LAMB: AdamW in which each layer's step is in proportion to its weights.

    .. math::
        r = \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \lambda p, \qquad
        p \leftarrow p - \gamma \, \frac{\|p\|}{\|r\|} \, r

    with the moments of `adam`; where a norm is zero the ratio is one.

    Args:
        lr: the learning rate γ.
        betas: how slowly the two moments forget.
        eps: ε, added to the denominator.
        weight_decay: λ.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg`` and ``exp_avg_sq``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.lamb(0.1)
        >>> params = jnp.array([3.0, 4.0])
        >>> updates, _ = optimizer.update(jnp.array([1.0, 0.0]), optimizer.init(params), params)
        >>> round(float(updates[0]), 3)
        -0.5

    Reference: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76
    minutes", ICLR 2020
    """
    check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
    check_tuple("betas", betas, 2, below=1.0)
    decayed = in_use(weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2 = h.betas
        unbias1 = 1 / bias_correction(beta1, h.step)
        unbias2 = 1 / jnp.sqrt(bias_correction(beta2, h.step))

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled=False)
            m = beta1 * slots["exp_avg"] + (1 - beta1) * g
            v = beta2 * slots["exp_avg_sq"] + (1 - beta2) * (g * g)
            step = unbias1 * m / (jnp.sqrt(v) * unbias2 + h.eps)
            step = step + h.weight_decay * p if decayed else step
            update = -h.lr * _ratio(leaf_norm(p), leaf_norm(step)) * step
            return update, {"exp_avg": m, "exp_avg_sq": v}

        return move

    return from_rule(
        "lamb",
        rule,
        zeros_slot("exp_avg", "exp_avg_sq"),
        reads_params=True,
        shaped=True,
        hyper={"lr": lr, "betas": betas, "eps": eps, "weight_decay": used(weight_decay)},
    )


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
