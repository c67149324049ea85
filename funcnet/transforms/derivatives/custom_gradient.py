"""Functions with a gradient that is written by hand."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import PyTree
from funcnet.core.leaf_kinds import is_trainable
from funcnet.transforms.arguments import wraps

__all__ = ["custom_gradient"]


def custom_gradient(fun: Callable[..., tuple[Any, Callable[..., Any]]]) -> Callable[..., Any]:
    """Turn a function that returns its value and its pullback into one with that gradient.

    As `jax.custom_gradient`, on any tree: what is given as the gradient of an integer, boolean or
    key leaf is ignored. For rules that also hold in forward mode, use ``jax.custom_jvp``.

    Args:
        fun: returns ``(value, pullback)``, where ``pullback(cotangent)`` returns the gradient with
            respect to the argument, any tree except a tuple, or a tuple with one entry an argument.

    Returns:
        A function that returns the value alone.

    >>> @transforms.custom_gradient
    ... def clipped_slope(x):
    ...     return x**2, lambda cotangent: cotangent * jnp.clip(2 * x, -1, 1)
    >>> float(clipped_slope(3.0)), float(transforms.grad(clipped_slope)(3.0))
    (9.0, 1.0)
    """

    @wraps(fun)
    def with_pullback(*args: Any, **kwargs: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        value, pullback = fun(*args, **kwargs)

        def of_arguments(cotangent: Any) -> tuple[Any, ...]:
            gradient = pullback(cotangent)
            entries = gradient if isinstance(gradient, tuple) else (gradient,)
            if len(entries) != len(args):
                return entries  # JAX says what it wants
            return tuple(map(_without_constants, args, entries))

        return value, of_arguments

    return jax.custom_gradient(with_pullback)


def _without_constants(argument: PyTree, gradient: PyTree) -> PyTree:
    """Replace the gradients of constant leaves by the placeholders that JAX wants for them."""
    if gradient is None:
        return None
    leaves, treedef = jax.tree.flatten(argument)
    found = zip(leaves, treedef.flatten_up_to(gradient), strict=True)
    return treedef.unflatten(
        [
            entry if is_trainable(leaf) else np.zeros(jnp.shape(leaf), jax.dtypes.float0)
            for leaf, entry in found
        ]
    )
