"""The protocol: an optimizer is a pair of pure functions, and pairs compose.

The pair has the shape that Optax also uses, so the transformations of either library run inside
the other's chains; neither imports the other.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.leaf_kinds import is_none, is_trainable
from funcnet.core.torch_hints import missing_attribute
from funcnet.optim.leaf_rule import jax_leaf, require_shape
from funcnet.optim.row_sparse import RowSparse

__all__ = [
    "GradientTransformation",
    "ShapedTransformation",
    "apply_updates",
    "chain",
    "identity",
    "stateless",
    "zeros_slot",
]


class GradientTransformation(NamedTuple):
    """A pair of pure functions that turns gradients into updates.

    ``init(params) -> state`` makes the state, a pytree of arrays;
    ``update(grads, state, params=None, **extra) -> (updates, state)`` makes one step. Updates are
    *added* to the parameters (`apply_updates`), so a descent step is negative.

    Example:
        >>> def update(grads, state, params=None, **extra):
        ...     return jax.tree.map(lambda g: -0.1 * g, grads), state
        >>> descent = optim.GradientTransformation(init=lambda params: (), update=update)
        >>> updates, state = descent.update({"w": jnp.ones(2)}, descent.init({"w": jnp.ones(2)}))
        >>> updates["w"].tolist()
        [-0.10000000149011612, -0.10000000149011612]

    Reference: Optax, https://optax.readthedocs.io/en/latest/api/combining_optimizers.html
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[..., tuple[PyTree, PyTree]]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(missing_attribute("optimizer", type(self).__name__, name))


class ShapedTransformation(GradientTransformation):
    """A transformation whose result depends on each leaf's shape or on the leaf as a whole.

    Per-leaf norms, factored moments and orthogonalised matrices are of this kind; `packed`, which
    joins leaves into one buffer, refuses them.

    Example:
        >>> isinstance(optim.lamb(1e-3), optim.ShapedTransformation)
        True
        >>> isinstance(optim.adam(1e-3), optim.ShapedTransformation)
        False
    """


def of_same_kind(inner: GradientTransformation, init: Any, update: Any) -> GradientTransformation:
    """Make a transformation of the same kind as the one inside it."""
    shaped = isinstance(inner, ShapedTransformation)
    return (ShapedTransformation if shaped else GradientTransformation)(init, update)


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """Add updates to parameters: ``p + u``, in the wider dtype, rounded to the dtype of ``p``.

    A leaf without an update (``None``, ``float0``, integers) and a leaf of integers or booleans stays
    as it is; a `RowSparse` update changes its rows alone.

    Args:
        params: any pytree of arrays.
        updates: a pytree of the same structure.

    Returns:
        The new parameters.

    Raises:
        ValueError: an update has another shape than its parameter.

    Example:
        >>> optim.apply_updates({"w": jnp.array([1.0])}, {"w": jnp.array([-0.5])})["w"].tolist()
        [0.5]
    """

    def add(p: Any, u: Any) -> Any:
        if u is None or not is_trainable(p):
            return p
        if isinstance(u, RowSparse):
            return u.add_to(p)
        if not isinstance(p, jax.Array) or not isinstance(u, jax.Array):
            if not is_trainable(u):
                return p
            p, u = jax_leaf(p), jax_leaf(u)
        require_shape("apply_updates", u, p.shape)
        if p.dtype == u.dtype:
            return p + u
        if not is_trainable(u):
            return p
        wide = np.promote_types(p.dtype, u.dtype)
        return (p.astype(wide) + u.astype(wide)).astype(p.dtype)

    return jax.tree.map(add, params, updates, is_leaf=is_none)


def with_extra(update: Callable[..., Any]) -> Callable[..., Any]:
    """Let an update function be called with keyword arguments that it does not know.

    Those it names are passed on, the others dropped; one that takes ``**extra`` gets all.

    Example:
        >>> bare = lambda grads, state, params=None: (grads, state)
        >>> with_extra(bare)(1.0, (), value=3.0)
        (1.0, ())
    """
    parameters = inspect.signature(update).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return update
    known = set(list(parameters)[3:])

    def call(grads: PyTree, state: PyTree, params: PyTree = None, **extra: Any) -> Any:
        chosen = {name: value for name, value in extra.items() if name in known}
        return update(grads, state, params, **chosen)

    return call


def require_optimizer(name: str, optimizer: Any) -> None:
    """Raise ``TypeError`` unless a wrapper was given an optimizer to wrap.

    Example:
        >>> require_optimizer("average", optim.sgd(0.1))
    """
    if not callable(getattr(optimizer, "init", None)) or not callable(
        getattr(optimizer, "update", None)
    ):
        got = getattr(optimizer, "__name__", None)
        shown = (
            f"{got} itself: call it" if got and callable(optimizer) else type(optimizer).__name__
        )
        raise TypeError(f"{name} takes an optimizer first, such as optim.adam(1e-3); got {shown}")


def require_params(name: str, params: PyTree) -> None:
    """Raise ``ValueError`` if an update that reads the parameters was not given any.

    Example:
        >>> require_params("adamw", {"w": jnp.ones(2)})
    """
    if params is None:
        raise ValueError(
            f"{name} reads the parameters: call update(grads, state, params), not "
            "update(grads, state)"
        )


def chain(*transformations: Any) -> GradientTransformation:
    """Apply transformations one after another, each to what the one before it returned.

    ``updates_0 = grads``, ``updates_k = transformation_k(updates_{k-1})``. The state is the tuple
    of their states. Optax's transformations may take part.

    Args:
        transformations: pairs ``(init, update)``; extra keyword arguments of ``update`` reach those
            that accept them.

    Returns:
        One transformation.

    Example:
        >>> optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1))
        >>> params = {"w": jnp.array([3.0, 4.0])}
        >>> updates, state = optimizer.update(params, optimizer.init(params))
        >>> updates["w"].round(4).tolist()
        [-0.05999999865889549, -0.07999999821186066]
    """
    for position, transformation in enumerate(transformations):
        if not (hasattr(transformation, "init") and hasattr(transformation, "update")):
            raise TypeError(
                f"chain takes transformations with init and update; argument {position} is "
                f"{transformation!r}"
            )
    updates_ = [with_extra(transformation.update) for transformation in transformations]

    def init(params: PyTree) -> tuple[PyTree, ...]:
        return tuple(transformation.init(params) for transformation in transformations)

    def update(
        grads: PyTree, state: tuple[PyTree, ...], params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, tuple[PyTree, ...]]:
        if not isinstance(state, tuple | list) or len(state) != len(updates_):
            size = len(state) if isinstance(state, tuple | list) else type(state).__name__
            raise ValueError(
                f"a chain of {len(updates_)} got a state of {size}: was it made by this chain's init?"
            )
        states = []
        for one, old in zip(updates_, state, strict=True):
            grads, new = one(grads, old, params, **extra)
            states.append(new)
        return grads, tuple(states)

    shaped = any(isinstance(one, ShapedTransformation) for one in transformations)
    return (ShapedTransformation if shaped else GradientTransformation)(init, update)


def identity() -> GradientTransformation:
    """Return the updates as they came.

    Example:
        >>> optim.identity().update(jnp.ones(1), ())[0].tolist()
        [1.0]
    """
    return stateless(lambda grads, params: grads)


def stateless(function: Callable[[PyTree, PyTree], PyTree]) -> GradientTransformation:
    """Make a transformation of a function ``(grads, params) -> updates`` that remembers nothing.

    Example:
        >>> flip = optim.stateless(lambda grads, params: jax.tree.map(jnp.negative, grads))
        >>> flip.update(jnp.ones(1), ())[0].tolist()
        [-1.0]
    """

    def init(params: PyTree) -> tuple[()]:
        return ()

    def update(
        grads: PyTree, state: tuple[()], params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, tuple[()]]:
        return function(grads, params), state

    return GradientTransformation(init, update)


def zeros_slot(*names: str) -> Callable[[Array], dict[str, Array]]:
    """Make zeros like the parameter under each name: the state most rules start from.

    Example:
        >>> sorted(optim.zeros_slot("exp_avg", "exp_avg_sq")(jnp.ones(3)))
        ['exp_avg', 'exp_avg_sq']
    """
    return lambda p: {name: jnp.zeros_like(p) for name in names}
