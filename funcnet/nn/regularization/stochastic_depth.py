"""Stochastic depth as a layer: it stands behind a residual branch and draws a key in training."""

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice, check_probability
from funcnet.functional.regularization.stochastic_depth import stochastic_depth
from funcnet.module import Module

__all__ = ["StochasticDepth"]


class StochasticDepth(Module):
    """Zero a residual branch with probability ``p`` in training, and divide it by ``1 - p`` where it stays.

    Args:
        p: probability of the branch to be zeroed.
        mode: ``"batch"`` decides once for the whole batch, ``"row"`` for each row of the first axis.

    Raises:
        ValueError: ``p`` is not a probability, or ``mode`` is another word.

    Example:
        >>> branch = nn.Sequential(nn.Linear(3, 3), nn.StochasticDepth(0.2, "row"))
        >>> params, state = fn.functionalize(branch).init(jax.random.key(0))
        >>> model = fn.bind(branch, params, state, train=True, key=jax.random.key(1))
        >>> (jnp.ones((8, 3)) + model(jnp.ones((8, 3)))).shape
        (8, 3)

    Reference: Huang et al., 2016, https://arxiv.org/abs/1603.09382; ``torchvision.ops.StochasticDepth``.
    """

    def __init__(self, p: float, mode: str) -> None:
        check_probability("p", p)
        check_choice("mode", mode, ("batch", "row"))
        self.p = p
        self.mode = mode

    def __call__(self, input: Array) -> Array:
        """Zero the branch, or rows of it, in training; return it as it is otherwise."""
        key = self.next_key() if self.training and 0 < self.p < 1 else None
        return stochastic_depth(input, self.p, self.mode, self.training, key=key)
