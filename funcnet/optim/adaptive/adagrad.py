"""Adagrad: steps divided by the root of the sum of all squared gradients."""

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_non_negative
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule, oriented
from funcnet.optim.settings import Numbers, Settings, if_known, number, optional

__all__ = ["adagrad"]


@factory
def adagrad(
    lr: Hyperparameter = 1e-2,
    lr_decay: Hyperparameter = 0.0,
    weight_decay: Hyperparameter = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: Hyperparameter = 1e-10,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adagrad: divide by the root of the sum of all squared gradients.

    .. math::
        s_t = s_{t-1} + g_t^2, \qquad
        p \leftarrow p - \frac{\gamma}{1 + (t - 1) \eta} \, \frac{g_t}{\sqrt{s_t} + \epsilon}

    Args:
        lr: the learning rate γ.
        lr_decay: η.
        weight_decay: λ, added to the gradient as ``λ p``.
        initial_accumulator_value: :math:`s_0`.
        eps: ε, added to the denominator.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slot ``sum``.

    Raises:
        ValueError: a negative number.

    Example:
        >>> optimizer = optim.adagrad(0.1)
        >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(jnp.ones(1)))
        >>> round(float(updates[0]), 3)
        -0.1

    Reference: Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 2011;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adagrad.html
    """
    hyper = Settings(
        lr=number(lr),
        lr_decay=number(lr_decay),
        eps=number(eps),
        weight_decay=optional(weight_decay),
    )
    if_known(check_non_negative, "initial_accumulator_value", initial_accumulator_value)

    def slots(p: Array) -> Slots:
        first = initial_accumulator_value
        # A complex accumulator holds two reals, and both start there.
        return {"sum": jnp.full_like(p, complex(first, first) if jnp.iscomplexobj(p) else first)}

    def rule(h: Numbers) -> Move:
        step_size = h.lr / (1 + (h.step - 1) * h.lr_decay)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            g = oriented(g, p, h, maximize, coupled=True)
            total = slots["sum"] + g * g
            return -step_size * g / (jnp.sqrt(total) + h.eps), {"sum": total}

        return move

    return from_rule("adagrad", rule, slots, hyper=hyper, reads_params="weight_decay" in hyper)
