"""Many models as one: their trees stacked on a leading axis, their calls one vmap."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Key, PyTree
from funcnet.core.checks import check_positive
from funcnet.core.paths import leaves_with_paths

__all__ = ["Ensemble", "ensemble", "stack", "unstack"]


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


def stack(trees: Sequence[PyTree]) -> PyTree:
    """Stack trees of the same structure leaf by leaf along a new leading axis.

    Args:
        trees: parameter trees of several models, for `vmap` over them
            (``torch.func.stack_module_state`` is this).

    Returns:
        One tree.

    Raises:
        ValueError: there are none, or a leaf's shapes differ; the message names the leaf.

    >>> transforms.stack([{"w": jnp.zeros(2)}, {"w": jnp.ones(2)}])["w"].tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    trees = list(trees)
    if not trees:
        raise ValueError("stack needs at least one tree")
    columns = [leaves_with_paths(tree) for tree in trees]
    for leaves in zip(*columns, strict=False):
        shapes = [jnp.shape(leaf) for _, leaf in leaves]
        if len(set(shapes)) > 1:
            raise ValueError(f"{leaves[0][0]} has different shapes in the trees: {shapes}")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def unstack(tree: PyTree) -> list[PyTree]:
    """Take stacked trees apart: the inverse of `stack`.

    Args:
        tree: a tree whose leaves share the length of their leading axis.

    Returns:
        As many trees as that length.

    Raises:
        ValueError: the leading axes differ, or there is none.

    >>> [part["w"].tolist() for part in transforms.unstack({"w": jnp.arange(4).reshape(2, 2)})]
    [[0, 1], [2, 3]]
    """
    leaves, treedef = jax.tree.flatten(tree)
    lengths = {jnp.shape(leaf)[:1] for leaf in leaves}
    if len(lengths) != 1 or lengths == {()}:
        raise ValueError(
            f"unstack needs leaves with one common leading length; got {sorted(lengths)}"
        )
    ((count,),) = lengths
    return [treedef.unflatten([leaf[i] for leaf in leaves]) for i in range(count)]
