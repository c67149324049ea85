"""The identity, with a derivative of the opposite sign."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.leaf_kinds import is_trainable

__all__ = ["gradient_reversal"]


@jax.custom_jvp
def _reversed(x: Array, scale: Array) -> Array:
    return x


@_reversed.defjvp
def _reversed_slope(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> Any:
    return _reversed(*primals), -primals[1] * tangents[0]


def gradient_reversal(tree: PyTree, scale: Any = 1.0) -> PyTree:
    r"""Return a tree as it is, with the sign of derivatives through it reversed.

    .. math:: y = x, \qquad \frac{\partial y}{\partial x} := -\lambda I

    Args:
        tree: any pytree, such as the features that a domain classifier sees.
        scale: :math:`\lambda`, a number or a scalar array.

    Returns:
        The same values.

    >>> float(transforms.grad(lambda x: transforms.gradient_reversal(x, 0.5) ** 2)(3.0))
    -3.0

    Reference: Ganin & Lempitsky, 2015, "Unsupervised domain adaptation by backpropagation".
    """

    def reverse(leaf: Any) -> Any:
        if not is_trainable(leaf):
            return leaf
        leaf = jnp.asarray(leaf)
        return _reversed(leaf, jax.lax.stop_gradient(jnp.asarray(scale).astype(leaf.dtype)))

    return jax.tree.map(reverse, tree)
