"""Weight decay as a transformation of its own, for chains."""

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import decayed, from_rule
from funcnet.optim.settings import Numbers, Settings, number

__all__ = ["add_decayed_weights"]


def add_decayed_weights(weight_decay: Hyperparameter) -> GradientTransformation:
    r"""Add a multiple of the parameters: :math:`g \leftarrow g + \lambda p`.

    In front of an optimizer this is an L2 penalty; behind the moments, before the learning rate, it
    is decoupled decay.

    Args:
        weight_decay: λ.

    Returns:
        A transformation; ``hyperparams`` shows ``weight_decay``.

    Raises:
        ValueError: a negative number.

    Example:
        >>> optimizer = optim.chain(optim.add_decayed_weights(0.1), optim.sgd(1.0))
        >>> params = jnp.array([2.0])
        >>> updates, state = optimizer.update(jnp.zeros(1), optimizer.init(params), params)
        >>> updates.tolist()
        [-0.20000000298023224]
    """
    hyper = Settings(weight_decay=number(weight_decay))

    def rule(h: Numbers) -> Move:
        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            return decayed(g, p, h), {}

        return move

    return from_rule("add_decayed_weights", rule, hyper=hyper, reads_params=True)
