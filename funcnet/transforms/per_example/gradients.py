"""The gradient of every example of a batch."""

from collections.abc import Callable, Sequence
from typing import Any

from funcnet.core.aliases import PyTree
from funcnet.transforms.arguments import wraps
from funcnet.transforms.derivatives.grad import value_and_grad
from funcnet.transforms.loops.vmap import vmap

__all__ = ["per_example_grad"]


def per_example_grad(
    loss: Callable[..., Any],
    in_axes: Sequence[Any] | int = 0,
    *,
    chunk_size: int | None = None,
    **options: Any,
) -> Callable[..., PyTree]:
    """Turn a loss of one example into a function that returns every example's gradient.

    Args:
        loss: ``loss(params, *example) -> scalar`` for one example.
        in_axes: the axis of examples in each argument after the parameters; ``None`` where all
            examples share it.
        chunk_size: examples to hold in memory at once.
        **options: ``has_aux``, ``wrt``, …; see `grad`.

    Returns:
        ``f(params, *batch)``, which returns the gradient with a leading axis of examples.

    >>> gradients = transforms.per_example_grad(lambda w, x: jnp.vdot(w, x) ** 2)
    >>> gradients(jnp.ones(2), jnp.array([[1.0, 0.0], [0.0, 2.0]])).tolist()
    [[2.0, 0.0], [0.0, 8.0]]

    Follows https://docs.pytorch.org/tutorials/intermediate/per_sample_grads.html.
    """
    both = value_and_grad(loss, **options)

    def gradient(*args: Any) -> Any:
        value, derivative = both(*args)
        return (derivative, value[1]) if options.get("has_aux") else derivative

    @wraps(loss)
    def of_batch(params: PyTree, *batch: Any) -> Any:
        axes = (in_axes,) * len(batch) if isinstance(in_axes, int) else tuple(in_axes)
        return vmap(gradient, (None, *axes), chunk_size=chunk_size)(params, *batch)

    return of_batch
