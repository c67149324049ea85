"""The optimizer that changes nothing."""

import jax.numpy as jnp

from funcnet.optim.leaf_rule import map_moved, on_values
from funcnet.optim.protocol import GradientTransformation, stateless

__all__ = ["frozen"]


def frozen() -> GradientTransformation:
    """Leave parameters as they are, bit for bit; for use as a member of `groups`.

    The updates are negative zeros, the one number that changes nothing it is added to.

    Example:
        >>> optim.frozen().update(jnp.ones(2), ())[0].tolist()
        [-0.0, -0.0]
    """
    return _FROZEN


_FROZEN = stateless(
    lambda grads, params: map_moved(on_values(lambda g: jnp.full_like(g, -0.0)), grads)
)
