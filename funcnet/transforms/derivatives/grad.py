"""Gradients of scalar functions with respect to whole trees of parameters."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from funcnet.transforms.arguments import pick, replace, wraps
from funcnet.transforms.derivatives.microbatches import Accumulation
from funcnet.transforms.differentiable_leaves import Selection, split

__all__ = ["grad", "value_and_grad"]


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    wrt: Selection | None = None,
    microbatches: int | None = None,
    batched: int | str | Sequence[int | str] | None = None,
    threaded: int | str | None = None,
    weight: Callable[[Any], Any] | None = None,
    reduction: str = "mean",
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
        allow_int: as in JAX's signature; without effect, because integers are constants anyway.
        wrt: differentiate only the leaves that a dotted glob matches, or any of several globs, or
            a predicate ``(path, leaf) -> bool``; the others are constant and have gradient
            ``None``, as in ``partition(params, wrt)[0]``.
        microbatches: divide the batch into so many parts, run them one after another in a scan and
            add their gradients up: the value and gradient of the whole batch, in the memory of one
            part and one gradient. Part ``i`` of ``k`` is examples ``i, i + k, …``. Typed random
            keys among the arguments are folded with the part's number.
        batched: names or numbers of the arguments to divide; the one named ``batch`` by default.
        threaded: the argument (a state) that each part takes from the part before: ``fun`` returns
            it as its ``aux``, or as the first entry of that.
        weight: ``weight(aux)`` is the weight of a part's mean, for losses whose mean is not over
            as many things in every part (tokens that are not masked out). A part of weight zero
            counts for nothing, also if its mean is NaN.
        reduction: ``"sum"`` for a loss that sums over its batch rather than averages.

    Returns:
        A function of the same arguments that returns ``(value, gradient)``, with
        ``(value, aux)`` in place of ``value`` if ``has_aux``. With ``microbatches`` the ``aux`` of
        the parts come stacked along a new leading axis, except for the last threaded state.

    Raises:
        ValueError: a glob matches no leaf; the message lists the paths there are. Microbatches do
            not divide the batch.
        TypeError: the function's value is not a scalar, or not real.

    >>> params = {"weight": jnp.array([1.0, 2.0]), "step": jnp.array(7)}
    >>> value, grads = transforms.value_and_grad(lambda p: (p["weight"] ** 2).sum())(params)
    >>> float(value), grads["weight"].tolist(), int(grads["step"])
    (5.0, [2.0, 4.0], 0)
    """
    plan = None
    if microbatches is not None:
        plan = Accumulation(microbatches, batched, threaded, weight, reduction)
        plan.check(has_aux)

    @wraps(fun)
    def value_and_gradient(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        chosen = pick(args, argnums)
        _check_holds_arrays(chosen)
        pattern, moving, constants = split(chosen, wrt)

        def one_batch(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, list[Any]]:
            def of_moving(moving: list[Any]) -> Any:
                output = fun(*replace(args, argnums, pattern.join(moving, constants)), **kwargs)
                if isinstance(output, tuple) and not has_aux:
                    raise TypeError(
                        f"the function returned a tuple of {len(output)}, and a loss is one number: where it returns "
                        "(loss, other), write value_and_grad(fun, has_aux=True)"
                    )
                return output

            return jax.value_and_grad(of_moving, has_aux=has_aux, holomorphic=holomorphic)(moving)

        if plan is None:
            value, gradient = one_batch(args, kwargs)
        else:
            value, gradient = plan.run(fun, one_batch, moving, has_aux, args, kwargs)
        return value, pattern.fill(gradient)

    return value_and_gradient


def _check_holds_arrays(chosen: Any) -> None:
    """Refuse a model in place of its parameters: it holds none, so that its gradient would be ``None``."""
    for value in chosen if isinstance(chosen, tuple) else (chosen,):
        if callable(value) and jax.tree.leaves(value) == [value]:
            raise TypeError(
                f"derivatives are with respect to arrays; got {type(value).__name__}, which holds none: write a "
                "function of the parameters, grad(loss)(params, ...)"
            )


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    **options: Any,
) -> Callable[..., Any]:
    """Turn ``fun`` into a function that returns its gradient.

    As `jax.grad`, on any tree; see `value_and_grad` for what becomes of integer leaves.

    Args:
        fun: returns a real scalar, or ``(scalar, aux)`` if ``has_aux``.
        argnums: the positional argument, or arguments, to differentiate.
        has_aux: whether ``fun`` also returns something that is passed through.
        holomorphic: whether ``fun`` is a holomorphic function of complex leaves.
        allow_int: as in JAX's signature; without effect, because integers are constants anyway.
        **options: ``wrt``, ``microbatches`` and its companions; see `value_and_grad`.

    Returns:
        A function of the same arguments that returns the gradient, or ``(gradient, aux)``.

    Raises:
        ValueError: a glob matches no leaf; the message lists the paths there are.
        TypeError: the function's value is not a scalar, or not real.

    >>> float(transforms.grad(jnp.sin)(0.0))
    1.0
    """
    both = value_and_grad(fun, argnums, has_aux, holomorphic, allow_int, **options)

    @wraps(fun)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, derivative = both(*args, **kwargs)
        return (derivative, value[1]) if has_aux else derivative

    return gradient
