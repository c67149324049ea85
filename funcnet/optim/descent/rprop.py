"""Rprop: a step size for each number, which grows while its gradient keeps its sign."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule
from funcnet.optim.settings import Numbers, Settings, number, numbers

__all__ = ["rprop"]


@factory
def rprop(
    lr: Hyperparameter = 1e-2,
    etas: tuple[Hyperparameter, Hyperparameter] = (0.5, 1.2),
    step_sizes: tuple[Hyperparameter, Hyperparameter] = (1e-6, 50.0),
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Resilient backpropagation: each number's step grows while its gradient keeps its sign.

    .. math::
        \eta_t &= \mathrm{clip}\!\left(\eta_{t-1} \cdot \begin{cases}
            \eta_+ & g_{t-1} g_t > 0 \\ \eta_- & g_{t-1} g_t < 0 \\ 1 & \text{else}
        \end{cases}\right) \\
        g_t &\leftarrow 0 \text{ where } g_{t-1} g_t < 0, \qquad
        p \leftarrow p - \mathrm{sign}(g_t) \, \eta_t

    For gradients of the whole data set, not of batches.

    Args:
        lr: the first step size of every number, used at ``init`` and not again: of a schedule only
            the value at step 0 counts.
        etas: the factors :math:`\eta_-` and :math:`\eta_+`.
        step_sizes: the bounds of the step size.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``prev`` and ``step_size``.

    Raises:
        ValueError: a negative learning rate, or not ``0 < etas[0] < 1 < etas[1]``.

    Example:
        >>> optimizer = optim.rprop(0.5)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> updates.tolist()
        [-0.5]

    Reference: Riedmiller and Braun, "A Direct Adaptive Method for Faster Backpropagation Learning",
    1993; https://docs.pytorch.org/docs/stable/generated/torch.optim.Rprop.html
    """
    number(lr).checked("lr")
    hyper = Settings(etas=numbers(etas, 2), step_sizes=numbers(step_sizes, 2))
    low, high = etas
    if isinstance(low, int | float) and isinstance(high, int | float) and not 0 < low < 1 < high:
        raise ValueError(f"rprop expects 0 < etas[0] < 1 < etas[1]; got {etas!r}")

    def slots(p: Array) -> Slots:
        first = lr(jnp.zeros((), jnp.int32)) if callable(lr) else lr
        # A complex step size holds two reals, and both start there.
        first = jnp.asarray(first).astype(p.dtype) * (1 + 1j if jnp.iscomplexobj(p) else 1)
        return {"prev": jnp.zeros_like(p), "step_size": jnp.full_like(p, first)}

    def rule(h: Numbers) -> Move:
        shrink, grow = h.etas
        smallest, largest = h.step_sizes

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = -g if maximize else g
            # of the signs: a product of small gradients is zero, and of an infinite one and zero NaN
            agreement = jnp.sign(g) * jnp.sign(slots["prev"])
            factor = jnp.where(agreement > 0, grow, jnp.where(agreement < 0, shrink, 1))
            size = jnp.clip(slots["step_size"] * factor, smallest, largest)
            g = jnp.where(agreement < 0, 0, g)
            return -jnp.sign(g) * size, {"prev": g, "step_size": size}

        return move

    return from_rule("rprop", rule, slots, hyper=hyper)
