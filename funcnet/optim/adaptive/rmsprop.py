"""RMSprop: steps divided by a running root mean square of the gradient."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["rmsprop"]


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
    check_numbers(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
    decayed, heavy = in_use(weight_decay), in_use(momentum)

    def rule(h: SimpleNamespace) -> Move:
        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, decayed)
            v = h.alpha * slots["square_avg"] + (1 - h.alpha) * (g * g)
            new = {"square_avg": v}
            if centered:
                mean = new["grad_avg"] = h.alpha * slots["grad_avg"] + (1 - h.alpha) * g
                v = v - mean * mean
            direction = g / (jnp.sqrt(v) + h.eps)
            if heavy:
                direction = h.momentum * slots["momentum_buffer"] + direction
                new["momentum_buffer"] = direction
            return -h.lr * direction, new

        return move

    names = ["square_avg", *["grad_avg"][:centered], *["momentum_buffer"][:heavy]]
    return from_rule(
        "rmsprop",
        rule,
        zeros_slot(*names),
        reads_params=decayed,
        hyper={
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": used(weight_decay),
            "momentum": used(momentum),
        },
    )
