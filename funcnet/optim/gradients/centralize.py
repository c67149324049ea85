"""Gradients whose mean over each unit is zero."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.leaf_kinds import is_trainable
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation, stateless

__all__ = ["centralize"]


def centralize() -> GradientTransformation:
    r"""Subtract from each gradient the mean over all axes but the first.

    .. math:: g_{i\cdot} \leftarrow g_{i\cdot} - \tfrac1n \textstyle\sum_j g_{ij}

    The first axis is a layer's output axis; vectors and scalars stay as they are.

    Returns:
        A transformation without a state.

    Example:
        >>> centred, _ = optim.centralize().update(jnp.array([[1.0, 3.0], [2.0, 2.0]]), ())
        >>> centred.tolist()
        [[-1.0, 1.0], [0.0, 0.0]]

    Reference: Yong et al., "Gradient Centralization", ECCV 2020
    """

    def centre(g: Any) -> Any:
        if not is_trainable(g) or jnp.ndim(g) < 2 or jnp.size(g) == 0:
            return g
        return g - jnp.mean(g, axis=tuple(range(1, jnp.ndim(g))), keepdims=True)

    made = stateless(lambda grads, params: jax.tree.map(centre, grads))
    return ShapedTransformation(*made)
