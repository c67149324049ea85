"""Functions that derivatives pass through as if they were the identity."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.transforms.arguments import wraps

__all__ = ["straight_through"]


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
