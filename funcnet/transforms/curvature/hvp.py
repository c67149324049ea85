"""Products of the Hessian with vectors, computed without forming the matrix."""

from collections.abc import Callable, Sequence
from typing import Any

from funcnet.transforms.derivatives.grad import value_and_grad
from funcnet.transforms.derivatives.jvp import jvp
from funcnet.transforms.derivatives.vjp import vjp

__all__ = ["hvp", "vhp"]


def _value_and_gradients(
    fun: Callable[..., Any], count: int, has_aux: bool
) -> Callable[..., tuple[Any, Any]]:
    """Return ``fun`` as ``args -> (gradients, value or (value, aux))``."""
    both = value_and_grad(fun, tuple(range(count)), has_aux)

    def gradients(*args: Any) -> tuple[Any, Any]:
        value, derivatives = both(*args)
        return derivatives, value

    return gradients


def hvp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
) -> tuple[Any, ...]:
    r"""Return a scalar function's value and its Hessian's product with a vector.

    .. math:: (x, v) \mapsto \left(f(x),\ \nabla^2 f(x)\, v\right)

    Forward over reverse: about four times the work of ``fun`` and a constant factor of its memory.
    The arguments are laid out as those of `jvp`; integer leaves are constants.

    Args:
        fun: returns a real scalar, or ``(scalar, aux)`` if ``has_aux``.
        primals: the arguments, a tuple or list: all are differentiated.
        tangents: the vector, with the structure of ``primals``.
        has_aux: whether ``fun`` also returns something that is passed through.

    Returns:
        ``(value, product)``, or ``(value, product, aux)``; the product is a tuple with one entry
        an argument.

    >>> value, (product,) = transforms.hvp(lambda x: (x**3).sum(), (jnp.array([1.0, 2.0]),),
    ...                                    (jnp.array([1.0, 1.0]),))
    >>> float(value), product.tolist()
    (9.0, [6.0, 12.0])

    Reference: Pearlmutter, 1994, "Fast exact multiplication by the Hessian".
    """
    gradients = _value_and_gradients(fun, len(primals), has_aux)
    _, product, value = jvp(gradients, primals, tangents, has_aux=True)
    return (value[0], product, value[1]) if has_aux else (value, product)


def vhp(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    cotangents: Sequence[Any],
    has_aux: bool = False,
) -> tuple[Any, ...]:
    r"""Return a scalar function's value and a vector's product with its Hessian.

    .. math:: (x, w) \mapsto \left(f(x),\ w^\top \nabla^2 f(x)\right)

    Reverse over reverse: equal to `hvp` for functions with continuous second derivatives, and the
    way when ``fun`` contains something that has no forward derivative, such as a ``custom_vjp``.

    Args:
        fun: returns a real scalar, or ``(scalar, aux)`` if ``has_aux``.
        primals: the arguments, a tuple or list: all are differentiated.
        cotangents: the vector, with the structure of ``primals``.
        has_aux: whether ``fun`` also returns something that is passed through.

    Returns:
        ``(value, product)``, or ``(value, product, aux)``; the product is a tuple with one entry
        an argument.

    >>> value, (product,) = transforms.vhp(lambda x: (x**3).sum(), (jnp.array([1.0, 2.0]),),
    ...                                    (jnp.array([1.0, 1.0]),))
    >>> product.tolist()
    [6.0, 12.0]
    """
    gradients = _value_and_gradients(fun, len(primals), has_aux)
    _, pullback, value = vjp(gradients, *primals, has_aux=True)
    product = pullback(tuple(cotangents))
    return (value[0], product, value[1]) if has_aux else (value, product)
