"""Gradient descent, with or without momentum."""

from types import SimpleNamespace

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented

__all__ = ["sgd"]


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
    check_numbers(lr=lr, momentum=momentum, weight_decay=weight_decay)
    heavy, damped, decayed = in_use(momentum), in_use(dampening), in_use(weight_decay)
    if nesterov and (not heavy or damped):
        raise ValueError(
            "nesterov=True needs momentum greater than zero and dampening=0; "
            f"got momentum={momentum!r}, dampening={dampening!r}"
        )

    def rule(h: SimpleNamespace) -> Move:
        fresh = (h.step > 1).astype(h.step.dtype) * h.dampening if damped else 0

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, decayed)
            if not heavy:
                return -h.lr * g, {}
            buffer = h.momentum * slots["momentum_buffer"] + ((1 - fresh) * g if damped else g)
            direction = g + h.momentum * buffer if nesterov else buffer
            return -h.lr * direction, {"momentum_buffer": buffer}

        return move

    return from_rule(
        "sgd",
        rule,
        zeros_slot("momentum_buffer") if heavy else zeros_slot(),
        reads_params=decayed,
        hyper={
            "lr": lr,
            "momentum": used(momentum),
            "dampening": used(dampening),
            "weight_decay": used(weight_decay),
        },
    )
