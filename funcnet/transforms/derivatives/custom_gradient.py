"""Derivatives by decree: functions whose gradient is not that of what they compute."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.transforms.arguments import wraps
from funcnet.transforms.differentiable_leaves import is_differentiable

__all__ = ["custom_gradient", "gradient_reversal", "stop_gradient", "straight_through"]


def custom_gradient(fun: Callable[..., tuple[Any, Callable[..., Any]]]) -> Callable[..., Any]:
    """Turn a function that returns its value and its pullback into one with that gradient.

    As `jax.custom_gradient`, on any tree: what is given as the gradient of an integer, boolean or
    key leaf is ignored. For rules that also hold in forward mode, use ``jax.custom_jvp``.

    Args:
        fun: returns ``(value, pullback)``, where ``pullback(cotangent)`` returns the gradient with
            respect to the argument, any tree but a tuple, or a tuple with one entry an argument.

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
            entry if is_differentiable(leaf) else np.zeros(jnp.shape(leaf), jax.dtypes.float0)
            for leaf, entry in found
        ]
    )


def stop_gradient(tree: PyTree) -> PyTree:
    """Return a tree as it is, as a constant to every derivative.

    As `jax.lax.stop_gradient`; PyTorch's ``detach``.

    Args:
        tree: any pytree; leaves that are not arrays stay as they are.

    Returns:
        The same values.

    >>> float(transforms.grad(lambda x: x * transforms.stop_gradient(x))(3.0))
    3.0
    """
    return jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if is_differentiable(leaf) else leaf, tree
    )


@jax.custom_jvp
def _value_of_second(x: Array, y: Array) -> Array:
    return y


@_value_of_second.defjvp
def _slope_of_first(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> Any:
    # not primals[1]: a derivative taken around this one has to follow the rule as well
    return _value_of_second(*primals), tangents[0]


def straight_through(fun: Callable[..., Array]) -> Callable[..., Array]:
    r"""Keep a function's values and let derivatives pass as if it were the identity.

    .. math:: y = f(x), \qquad \frac{\partial y}{\partial x} := I

    For rounding, thresholds and samples, whose own derivative is zero.

    Args:
        fun: from an array, and further arguments which are constants, to one of the same shape.

    Returns:
        A function of the same arguments; the values have the type of the first.

    Raises:
        ValueError: when called, if ``fun`` changes the shape.

    >>> rounded = transforms.straight_through(jnp.round)
    >>> float(rounded(1.7)), float(transforms.grad(rounded)(1.7))
    (2.0, 1.0)

    Reference: Bengio, Léonard & Courville, 2013, "Estimating or propagating gradients through
    stochastic neurons".
    """

    @wraps(fun)
    def passed(x: Any, *args: Any, **kwargs: Any) -> Array:
        x = jnp.asarray(x)
        y = jnp.asarray(fun(x, *args, **kwargs))
        if y.shape != x.shape:
            raise ValueError(f"straight_through needs equal shapes; got {x.shape} -> {y.shape}")
        return _value_of_second(x, jax.lax.stop_gradient(y.astype(x.dtype)))

    return passed


@jax.custom_jvp
def _reversed(x: Array, scale: Array) -> Array:
    return x


@_reversed.defjvp
def _reversed_slope(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> Any:
    return _reversed(*primals), -primals[1] * tangents[0]


def gradient_reversal(tree: PyTree, scale: Any = 1.0) -> PyTree:
    r"""Return a tree as it is, with derivatives through it turned round.

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
        if not is_differentiable(leaf):
            return leaf
        leaf = jnp.asarray(leaf)
        return _reversed(leaf, jax.lax.stop_gradient(jnp.asarray(scale).astype(leaf.dtype)))

    return jax.tree.map(reverse, tree)
