"""Updates multiplied by a number or a schedule."""

from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule
from funcnet.optim.settings import Numbers, Settings

__all__ = ["scale"]


def scale(factor: Hyperparameter) -> GradientTransformation:
    r"""Multiply the updates by a number or a schedule: :math:`u \leftarrow c\,u`.

    Args:
        factor: *c*; ``-lr`` at the end of a chain of gradients makes a descent step.

    Returns:
        A transformation; ``hyperparams`` shows ``factor``.

    Example:
        >>> half = optim.scale(0.5)
        >>> half.update(jnp.array([2.0]), half.init(jnp.ones(1)))[0].tolist()
        [1.0]
    """

    def rule(h: Numbers) -> Move:
        return lambda g, p, slots: (h.factor * g, {})

    return from_rule("scale", rule, hyper=Settings(factor=factor))
