"""Adam and AdamW: steps scaled by running moments of the gradient."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["adam", "adamw", "bias_correction"]


def bias_correction(beta: Array, step: Array) -> Array:
    """Compute ``1 - beta**step`` without the cancellation that float32 suffers near one.

    Example:
        >>> round(float(optim.bias_correction(jnp.float32(0.999), jnp.float32(1.0))), 6)
        0.001
    """
    return -jnp.expm1(step * jnp.log1p(beta - 1))


def adam(
    lr: Hyperparameter = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> GradientTransformation:
    r"""Adam: a step along the mean gradient, divided by its root mean square.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        p &\leftarrow p - \gamma \, \frac{m_t / (1 - \beta_1^t)}
            {\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Args:
        lr: the learning rate γ.
        betas: how slowly the two moments forget.
        eps: ε, added to the denominator.
        weight_decay: λ; added to the gradient as ``λ p``, or decoupled from it.
        amsgrad: divide by the largest second moment so far.
        maximize: climb instead of descend.
        decoupled_weight_decay: shrink the parameters by ``γ λ`` instead (then this is `adamw`).

    Returns:
        An optimizer with the slots ``exp_avg``, ``exp_avg_sq`` and with AMSGrad
        ``max_exp_avg_sq``.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.adam(1e-1)
        >>> params = {"w": jnp.array([1.0])}
        >>> updates, state = optimizer.update({"w": jnp.array([5.0])}, optimizer.init(params))
        >>> round(float(updates["w"][0]), 4)
        -0.1

    Reference: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html
    """
    check_numbers(lr=lr, eps=eps, weight_decay=weight_decay)
    check_tuple("betas", betas, 2, below=1.0)
    decayed = in_use(weight_decay)
    coupled, decoupled = decayed and not decoupled_weight_decay, decayed and decoupled_weight_decay

    def rule(h: SimpleNamespace) -> Move:
        beta1, beta2 = h.betas
        step_size = h.lr / bias_correction(beta1, h.step)
        inverse_root = 1 / jnp.sqrt(bias_correction(beta2, h.step))

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled)
            m = beta1 * slots["exp_avg"] + (1 - beta1) * g
            v = beta2 * slots["exp_avg_sq"] + (1 - beta2) * (g * g)
            new = {"exp_avg": m, "exp_avg_sq": v}
            if amsgrad:
                v = new["max_exp_avg_sq"] = jnp.maximum(slots["max_exp_avg_sq"], v)
            update = -step_size * (m / (jnp.sqrt(v) * inverse_root + h.eps))
            return (update - h.lr * h.weight_decay * p if decoupled else update), new

        return move

    names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    return from_rule(
        "adamw" if decoupled_weight_decay else "adam",
        rule,
        zeros_slot(*names[: 3 if amsgrad else 2]),
        reads_params=decayed,
        hyper={"lr": lr, "betas": betas, "eps": eps, "weight_decay": used(weight_decay)},
    )


def adamw(
    lr: Hyperparameter = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adam with decoupled weight decay: ``p`` also shrinks by ``γ λ p`` at every step.

    Args:
        lr: the learning rate γ.
        betas: how slowly the two moments forget.
        eps: ε, added to the denominator.
        weight_decay: λ, which leaves the moments alone.
        amsgrad: divide by the largest second moment so far.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots of `adam`.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> optimizer = optim.adamw(optim.schedules.warmup_cosine(1e-3, 10, 100))
        >>> params = {"w": jnp.array([1.0])}
        >>> state = optimizer.init(params)
        >>> float(optim.hyperparams(state)["lr"])
        0.0

    Reference: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html
    """
    return adam(
        lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True
    )
