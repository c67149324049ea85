"""RMSprop: steps divided by a running root mean square of the gradient."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, optional

__all__ = ["rmsprop"]


@factory
def rmsprop(
    lr: Hyperparameter = 1e-2,
    alpha: Hyperparameter = 0.99,
    eps: Hyperparameter = 1e-8,
    weight_decay: Hyperparameter = 0.0,
    momentum: Hyperparameter = 0.0,
    centered: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""RMSprop: divide by a running root mean square, or standard deviation, of the gradient.

    .. math::
        v_t &= \alpha v_{t-1} + (1 - \alpha) g_t^2, \qquad
        \bar g_t = \alpha \bar g_{t-1} + (1 - \alpha) g_t \\
        d_t &= \frac{g_t}{\sqrt{v_t - \bar g_t^2 \text{ if centered}} + \epsilon}, \qquad
        b_t = \mu b_{t-1} + d_t, \qquad p \leftarrow p - \gamma b_t

    Args:
        lr: the learning rate γ.
        alpha: how slowly the averages forget.
        eps: ε, added to the denominator.
        weight_decay: λ, added to the gradient as ``λ p``.
        momentum: μ; a plain 0 keeps no buffer.
        centered: divide by the standard deviation.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slot ``square_avg`` and, where used, ``momentum_buffer`` and
        ``grad_avg``.

    Raises:
        ValueError: a negative number.

    Example:
        >>> optimizer = optim.rmsprop(0.1)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> updates.round(3).tolist()
        [-1.0]

    Reference: Tieleman and Hinton, Coursera lecture 6.5, 2012; Graves, "Generating Sequences",
    2013 (centered); https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html
    """
    hyper = Settings(
        lr=number(lr),
        alpha=number(alpha),
        eps=number(eps),
        weight_decay=optional(weight_decay),
        momentum=optional(momentum),
    )
    heavy = "momentum" in hyper

    def rule(h: Numbers) -> Move:
        average = moving_average(h.alpha)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=True)
            v = average(slots["square_avg"], g * g)
            new = {"square_avg": v}
            if centered:
                mean = new["grad_avg"] = average(slots["grad_avg"], g)
                v = v - mean * mean
            direction = g / (jnp.sqrt(v) + h.eps)
            if heavy:
                direction = h.momentum * slots["momentum_buffer"] + direction
                new["momentum_buffer"] = direction
            return -h.lr * direction, new

        return move

    slots = zeros_slot("square_avg", *["grad_avg"][:centered], *["momentum_buffer"][:heavy])
    return from_rule("rmsprop", rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)
