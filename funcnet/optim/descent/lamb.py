"""LAMB: AdamW in which each layer's step is in proportion to its weights."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.descent.trust_ratio import leaf_norm, trust_ratio
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import decayed, from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, numbers, optional

__all__ = ["lamb"]


@factory
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
    hyper = Settings(
        lr=number(lr),
        betas=numbers(betas, 2, below=1),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )

    def rule(h: Numbers) -> Move:
        mean, mean_square = map(moving_average, h.betas)
        unbias1 = 1 / bias_correction(h.betas[0], h.step)
        unbias2 = 1 / jnp.sqrt(bias_correction(h.betas[1], h.step))

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=False)
            m = mean(slots["exp_avg"], g)
            v = mean_square(slots["exp_avg_sq"], g * g)
            step = unbias1 * m / (jnp.sqrt(v) * unbias2 + h.eps)
            step = decayed(step, p, h)
            update = -h.lr * trust_ratio(leaf_norm(p), leaf_norm(step)) * step
            return update, {"exp_avg": m, "exp_avg_sq": v}

        return move

    slots = zeros_slot("exp_avg", "exp_avg_sq")
    return from_rule("lamb", rule, slots, hyper=hyper, reads_params=True, shaped=True)
