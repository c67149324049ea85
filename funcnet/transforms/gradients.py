"""Gradients of scalar functions with respect to whole trees of parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from funcnet.transforms.arguments import pick, replace, wraps
from funcnet.transforms.splitting import Selection, split

__all__ = ["grad", "value_and_grad"]


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    wrt: Selection | None = None,
) -> Callable[..., tuple[Any, Any]]:
    r"""Turn ``fun`` into a function that returns its value and its gradient.

    .. math:: f \mapsto \left(f(\theta),\ \frac{\partial f}{\partial\theta}\right)

    As `jax.value_and_grad`, on any tree: the gradient has the structure of the argument; integer
    and boolean leaves are constants whose gradient is zeros of their own shape and type, so that
    ``params - lr * grads`` leaves them alone; a typed random key's gradient is ``float0``, as JAX
    has it; what is not an array (a function stored as a leaf) has the gradient ``None``.

    Args:
        fun: returns a real scalar, or ``(scalar, aux)`` if ``has_aux``.
        argnums: the positional argument, or arguments, to differentiate.
        has_aux: whether ``fun`` also returns something that is passed through.
        holomorphic: whether ``fun`` is a holomorphic function of complex leaves.
        wrt: differentiate only the leaves that a dotted glob matches, or any of several globs, or
            a predicate ``(path, leaf) -> bool``; the others are constant and have gradient
            ``None``, as in ``partition(params, wrt)[0]``.

    Returns:
        A function of the same arguments that returns ``(value, gradient)``, with
        ``(value, aux)`` in place of ``value`` if ``has_aux``.

    Raises:
        ValueError: a glob matches no leaf; the message lists the paths there are.
        TypeError: the function's value is not a scalar, or not real.

    >>> params = {"weight": jnp.array([1.0, 2.0]), "step": jnp.array(7)}
    >>> value, grads = transforms.value_and_grad(lambda p: (p["weight"] ** 2).sum())(params)
    >>> float(value), grads["weight"].tolist(), int(grads["step"])
    (5.0, [2.0, 4.0], 0)
    """

    @wraps(fun)
    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        pattern, moving, constants = split(pick(args, argnums), wrt)

        def of_moving(moving: list[Any]) -> Any:
            return fun(*replace(args, argnums, pattern.join(moving, constants)), **kwargs)

        differentiated = jax.value_and_grad(of_moving, has_aux=has_aux, holomorphic=holomorphic)
        value, gradient = differentiated(moving)
        return value, pattern.fill(gradient)

    return value_and_gradient


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    wrt: Selection | None = None,
) -> Callable[..., Any]:
    """Turn ``fun`` into a function that returns its gradient.

    As `jax.grad`, on any tree; see `value_and_grad` for what becomes of integer leaves.

    Args:
        fun: returns a real scalar, or ``(scalar, aux)`` if ``has_aux``.
        argnums: the positional argument, or arguments, to differentiate.
        has_aux: whether ``fun`` also returns something that is passed through.
        holomorphic: whether ``fun`` is a holomorphic function of complex leaves.
        wrt: the leaves to differentiate: globs or a predicate; see `value_and_grad`.

    Returns:
        A function of the same arguments that returns the gradient, or ``(gradient, aux)``.

    Raises:
        ValueError: a glob matches no leaf; the message lists the paths there are.
        TypeError: the function's value is not a scalar, or not real.

    >>> float(transforms.grad(jnp.sin)(0.0))
    1.0
    """
    both = value_and_grad(fun, argnums, has_aux, holomorphic, wrt=wrt)

    @wraps(fun)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, derivative = both(*args, **kwargs)
        return (derivative, value[1]) if has_aux else derivative

    return gradient
