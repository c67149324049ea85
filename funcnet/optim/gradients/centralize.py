"""Gradients whose mean over each unit is zero."""

from funcnet.core.aliases import Array
from funcnet.core.dtypes import at_least_float32
from funcnet.optim.leaf_rule import map_moved, on_values
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

    def centre(g: Array) -> Array:
        if g.ndim < 2 or g.size == 0:
            return g
        wide = g.astype(at_least_float32(g.dtype))
        return (wide - wide.mean(axis=tuple(range(1, g.ndim)), keepdims=True)).astype(g.dtype)

    made = stateless(lambda grads, params: map_moved(on_values(centre), grads))
    return ShapedTransformation(*made)
