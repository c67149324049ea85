"""LARS: momentum in which each layer's step is in proportion to its weights."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.descent.trust_ratio import leaf_norm, trust_ratio
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation, zeros_slot
from funcnet.optim.rule import from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, number, optional

__all__ = ["lars"]


@factory
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
    hyper = Settings(
        lr=number(lr),
        momentum=number(momentum),
        weight_decay=optional(weight_decay),
        trust_coefficient=trust_coefficient,
        eps=number(eps),
    )

    def rule(h: Numbers) -> Move:
        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=False)
            p_norm, size = leaf_norm(p), leaf_norm(g)
            if h.weight_decay is not None:
                size, g = size + h.weight_decay * p_norm, g + h.weight_decay * p
            known = (p_norm > 0) & (size > 0)
            trust = jnp.where(known, h.trust_coefficient * trust_ratio(p_norm, size + h.eps), 1)
            step = h.lr * trust * g
            velocity = h.momentum * slots["momentum_buffer"] + step
            update = step + h.momentum * velocity if nesterov else velocity
            return -update, {"momentum_buffer": velocity}

        return move

    slots = zeros_slot("momentum_buffer")
    return from_rule("lars", rule, slots, hyper=hyper, reads_params=True, shaped=True)
