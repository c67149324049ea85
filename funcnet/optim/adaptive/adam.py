"""Adam and AdamW: steps scaled by running moments of the gradient."""

from collections.abc import Callable

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import decoupled_decay, from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["adam", "adamw", "bias_correction"]


def bias_correction(beta: Array, step: Array) -> Array:
    """Compute ``1 - beta**step`` without the cancellation that float32 suffers near one.

    Example:
        >>> round(float(optim.bias_correction(jnp.float32(0.999), jnp.float32(1.0))), 6)
        0.001
    """
    return -jnp.expm1(step * jnp.log1p(beta - 1))


def moving_average(beta: Array) -> Callable[[Array, Array], Array]:
    """Give ``(old, new) -> beta * old + (1 - beta) * new``.

    Example:
        >>> moving_average(jnp.float32(0.75))(jnp.zeros(1), jnp.ones(1)).tolist()
        [0.25]
    """
    rest = 1 - beta
    return lambda old, new: beta * old + rest * new


@factory
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
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def rule(h: Numbers) -> Move:
        mean, mean_square = map(moving_average, h.betas)
        unbias, unbias_square = (bias_correction(beta, h.step) for beta in h.betas)
        # The corrections go into the two numbers of the step, not into every element.
        root = jnp.sqrt(unbias_square)
        rate, eps = -h.lr * root / unbias, h.eps * root
        shrink = decoupled_decay(h, decoupled_weight_decay)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=not decoupled_weight_decay)
            m = mean(slots["exp_avg"], g)
            v = mean_square(slots["exp_avg_sq"], g * g)
            new = {"exp_avg": m, "exp_avg_sq": v}
            if amsgrad:
                v = new["max_exp_avg_sq"] = jnp.maximum(slots["max_exp_avg_sq"], v)
            return shrink(rate * (m / (jnp.sqrt(v) + eps)), p), new

        return move

    name = "adamw" if decoupled_weight_decay else "adam"
    slots = zeros_slot("exp_avg", "exp_avg_sq", *["max_exp_avg_sq"][:amsgrad])
    return from_rule(name, rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)


@factory
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

    ``p ← (1 - γ λ) p - γ m̂_t / (√v̂_t + ε)``, with the moments of `adam`, corrected for their bias.

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
