"""SM3: Adagrad with one number for each row and column in place of one for each entry."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.adaptive.adam import moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule, oriented, refuse_complex
from funcnet.optim.settings import Numbers, Settings, number

__all__ = ["sm3"]


@factory
def sm3(
    lr: Hyperparameter = 1e-1,
    momentum: Hyperparameter = 0.9,
    eps: Hyperparameter = 1e-30,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""SM3-II: the second moment of an entry is bounded by its row's, its column's and so forth.

    .. math::
        \nu_t(j) &= \min_{r \ni j} \mu_{t-1}(r) + g_t(j)^2, \qquad
        \mu_t(r) = \max_{j \in r} \nu_t(j) \\
        b_t &= \beta b_{t-1} + (1 - \beta) \frac{g_t}{\sqrt{\nu_t + \epsilon}}, \qquad
        p \leftarrow p - \gamma b_t

    where *r* runs over the slices of each axis.

    Args:
        lr: the learning rate γ.
        momentum: β.
        eps: ε; keeps entries whose gradients were all zero where they are.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``momentum_buffer`` and ``cover_i`` for each axis *i*, whose
        memory is the sum of the axes' lengths, not their product.

    Raises:
        ValueError: a number out of its range.
        TypeError: a parameter is complex.

    Example:
        >>> optimizer = optim.sm3(1.0, momentum=0.0)
        >>> state = optimizer.init(jnp.ones((4, 3)))
        >>> state.slots["cover_0"].shape, state.slots["cover_1"].shape
        ((4, 1), (1, 3))

    Reference: Anil et al., "Memory-Efficient Adaptive Optimization", NeurIPS 2019
    """
    hyper = Settings(lr=number(lr), momentum=number(momentum, below=1), eps=number(eps))

    def slots(p: Array) -> Slots:
        refuse_complex("sm3", p)
        made = {"momentum_buffer": jnp.zeros_like(p)}
        for i in range(max(p.ndim, 1)):
            shape = tuple(size if axis == i else 1 for axis, size in enumerate(p.shape))
            made[f"cover_{i}"] = jnp.zeros(shape, p.dtype)
        return made

    def rule(h: Numbers) -> Move:
        mean = moving_average(h.momentum)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=False)
            bound = jnp.full_like(g, jnp.inf)
            for i in range(max(g.ndim, 1)):
                bound = jnp.minimum(bound, slots[f"cover_{i}"])
            moment = bound + g * g
            new = {}
            for i in range(max(g.ndim, 1)):
                others = tuple(axis for axis in range(g.ndim) if axis != i)
                new[f"cover_{i}"] = jnp.max(moment, axis=others, keepdims=True, initial=0.0)
            velocity = mean(slots["momentum_buffer"], g / jnp.sqrt(moment + h.eps))
            return -h.lr * velocity, {"momentum_buffer": velocity, **new}

        return move

    return from_rule("sm3", rule, slots, hyper=hyper, shaped=True)
