"""Weight decay as a transformation of its own, for chains."""

from types import SimpleNamespace

from funcnet.core.aliases import Array
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule

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
    check_numbers(weight_decay=weight_decay)

    def rule(h: SimpleNamespace) -> Move:
        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            return g + h.weight_decay * p, {}

        return move

    hyper = {"weight_decay": weight_decay}
    return from_rule("add_decayed_weights", rule, reads_params=True, hyper=hyper)
