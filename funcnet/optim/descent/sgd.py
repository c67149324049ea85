"""Gradient descent, with or without momentum."""

import math

from funcnet.core.aliases import Array
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, optional

__all__ = ["sgd"]


@factory
def sgd(
    lr: Hyperparameter = 1e-3,
    momentum: Hyperparameter = 0.0,
    dampening: Hyperparameter = 0.0,
    weight_decay: Hyperparameter = 0.0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Stochastic gradient descent, optionally with (Nesterov) momentum.

    .. math::
        g &\leftarrow g + \lambda p, \qquad b_1 = g_1, \quad
        b_t = \mu b_{t-1} + (1 - \tau) g_t \\
        p &\leftarrow p - \gamma \, (g + \mu b_t \text{ if Nesterov, else } b_t)

    Args:
        lr: the learning rate γ.
        momentum: μ; a plain 0 keeps no buffer.
        dampening: τ, applied from the second step on.
        weight_decay: λ, added to the gradient.
        nesterov: look ahead along the momentum; needs momentum and no dampening.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slot ``momentum_buffer`` where momentum is in use.

    Raises:
        ValueError: a negative number, or Nesterov momentum without momentum or with dampening.

    Example:
        >>> optimizer = optim.sgd(0.1, momentum=0.9)
        >>> params = {"w": jnp.array([1.0])}
        >>> updates, state = optimizer.update({"w": jnp.array([2.0])}, optimizer.init(params))
        >>> updates["w"].tolist()
        [-0.20000000298023224]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html
    """
    hyper = Settings(
        lr=number(lr),
        momentum=optional(momentum),
        dampening=optional(dampening, at_least=-math.inf),
        weight_decay=optional(weight_decay),
    )
    heavy, damped = "momentum" in hyper, "dampening" in hyper
    if nesterov and (not heavy or damped):
        raise ValueError(
            "nesterov=True needs momentum greater than zero and dampening=0; "
            f"got momentum={momentum!r}, dampening={dampening!r}"
        )

    def rule(h: Numbers) -> Move:
        undamped = 1 - (h.step > 1).astype(h.step.dtype) * h.dampening if damped else None

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=True)
            if not heavy:
                return -h.lr * g, {}
            added = g if undamped is None else undamped * g
            buffer = h.momentum * slots["momentum_buffer"] + added
            direction = g + h.momentum * buffer if nesterov else buffer
            return -h.lr * direction, {"momentum_buffer": buffer}

        return move

    slots = zeros_slot(*["momentum_buffer"][:heavy])
    return from_rule("sgd", rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)
