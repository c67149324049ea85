"""Many models as one: parameters stacked on a leading axis, calls mapped over it."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from funcnet.core.aliases import Key, PyTree
from funcnet.core.checks import check_positive

__all__ = ["Ensemble", "ensemble"]


class Initializable(Protocol):
    """A model as two pure functions: what ``fn.functionalize`` returns, or anything alike."""

    @property
    def init(self) -> Callable[..., tuple[PyTree, PyTree]]:
        """``init(key) -> (params, state)``."""
        ...

    @property
    def apply(self) -> Callable[..., tuple[Any, PyTree]]:
        """``apply(params, state, *args, key=None, **kwargs) -> (output, state)``."""
        ...


class Ensemble(NamedTuple):
    """Several models as two pure functions over stacked trees.

    Attributes:
        init: ``init(key) -> (params, state)``, each leaf with a leading axis of models.
        apply: ``apply(params, state, *args, key=None, **kwargs) -> (outputs, state)``; all models
            see the same arguments, and each draws from a key of its own.

    Example:
        >>> models = transforms.ensemble(fn.functionalize(nn.Linear(3, 2)), 4)
        >>> params, state = models.init(jax.random.key(0))
        >>> models.apply(params, state, jnp.ones((5, 3)))[0].shape
        (4, 5, 2)
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Any, PyTree]]


def ensemble(net: Initializable, n: int, in_axes: Any = None) -> Ensemble:
    """Make ``n`` models of one, initialised and applied by one vmap.

    A loss written for one model trains all of them: average it over the outputs' leading axis and
    sum over models, or map the whole training step with `vmap` over the stacked trees.

    Args:
        net: a model with ``init`` and ``apply``.
        n: how many.
        in_axes: the axis of models in each argument after params and state: ``None`` where all
            models see the same; otherwise as `vmap` takes it.

    Returns:
        ``Ensemble(init, apply)``.

    >>> models = transforms.ensemble(fn.functionalize(nn.Linear(3, 2)), 4)
    >>> params, state = models.init(jax.random.key(0))
    >>> outputs, state = models.apply(params, state, jnp.ones((5, 3)))
    >>> params["weight"].shape, outputs.shape
    ((4, 2, 3), (4, 5, 2))
    """
    check_positive("n", n)

    def init(key: Key, *args: Any, **kwargs: Any) -> tuple[PyTree, PyTree]:
        one = lambda key: net.init(key, *args, **kwargs)  # noqa: E731
        return jax.vmap(one)(jax.random.split(key, n))

    def apply(
        params: PyTree, state: PyTree, *args: Any, key: Key | None = None, **kwargs: Any
    ) -> tuple[Any, PyTree]:
        keys = None if key is None else jax.random.split(key, n)

        def one(params: PyTree, state: PyTree, key: Key | None, *args: Any) -> tuple[Any, PyTree]:
            return net.apply(params, state, *args, key=key, **kwargs)

        axes = in_axes if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
        mapped = jax.vmap(one, (0, 0, 0, *axes), axis_size=n)
        return mapped(params, state, keys, *args)

    return Ensemble(init, apply)
