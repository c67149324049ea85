"""SM3: Adagrad with one number for each row and column in place of one for each entry."""

from types import SimpleNamespace

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule, oriented

__all__ = ["sm3"]


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
    check_numbers(lr=lr, eps=eps)
    check_numbers(momentum=momentum, below=1.0)

    def slots(p: Array) -> dict[str, Array]:
        if jnp.iscomplexobj(p):
            raise TypeError("sm3 does not take complex parameters")
        made = {"momentum_buffer": jnp.zeros_like(p)}
        for i in range(max(p.ndim, 1)):
            shape = tuple(size if axis == i else 1 for axis, size in enumerate(p.shape))
            made[f"cover_{i}"] = jnp.zeros(shape, p.dtype)
        return made

    def rule(h: SimpleNamespace) -> Move:
        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            g = oriented(g, p, h, maximize, coupled=False)
            bound = jnp.full_like(g, jnp.inf)
            for i in range(max(g.ndim, 1)):
                bound = jnp.minimum(bound, slots[f"cover_{i}"])
            moment = bound + g * g
            new = {}
            for i in range(max(g.ndim, 1)):
                others = tuple(axis for axis in range(g.ndim) if axis != i)
                new[f"cover_{i}"] = jnp.max(moment, axis=others, keepdims=True, initial=0.0)
            step = g / jnp.sqrt(moment + h.eps)
            velocity = h.momentum * slots["momentum_buffer"] + (1 - h.momentum) * step
            return -h.lr * velocity, {"momentum_buffer": velocity, **new}

        return move

    hyper = {"lr": lr, "momentum": momentum, "eps": eps}
    return from_rule("sm3", rule, slots, shaped=True, hyper=hyper)
