"""A penalty of chosen weights of a model, added up over its layers."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Params
from funcnet.core.dtypes import at_least_float32, widest
from funcnet.core.paths import select
from funcnet.functional.explicit_meshes import let_xla_place
from funcnet.module.layout import Layout, placed
from funcnet.module.observe import check_functional

if TYPE_CHECKING:
    from funcnet.module.functionalize import Functional

__all__ = ["penalty"]


def penalty(
    net: "Functional",
    params: Params,
    function: Callable[[Array], Array],
    patterns: str | Iterable[str] = "*weight",
) -> Array:
    """Add up a penalty of every weight whose dotted path matches.

    Each layer of an `nn.Repeat`, and each copy of an `nn.Vmap`, has a weight of its own, and so has its own penalty.

    Args:
        net: what `functionalize` returned.
        params: its parameters.
        function: ``function(weight) -> scalar``, such as `funcnet.functional.orthogonal_penalty`.
        patterns: a glob, or several, on the weights' dotted paths; ``*`` also crosses dots. Scales of norms are
            called ``weight`` too: name layers where the function takes matrices alone.

    Returns:
        A scalar, in 32 bits at least.

    Raises:
        ValueError: a glob matches no parameter; or the function refuses one, whose path is added to its message.
        ParameterTreeError: the parameters are not those of the model.
        TypeError: ``net`` is a model.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
        >>> params, state = net.init(jax.random.key(0))
        >>> total = fn.penalty(net, params, F.orthogonal_penalty)
        >>> total == F.orthogonal_penalty(params["0"]["weight"]) + F.orthogonal_penalty(params["2"]["weight"])
        Array(True, dtype=bool)
    """
    check_functional(net, "penalty")
    layout = net.observable.node.layout
    arrays = placed(layout, params, "params")
    found = [
        _of_layers(function, arrays[id(layout.specs[path])], len(layout.sizes[path]), layers, path)
        for path, layers in _chosen_layers(layout, patterns).items()
    ]
    wide = at_least_float32(widest(*(each.dtype for each in found)))
    return jnp.sum(jnp.stack([jnp.sum(each.astype(wide)) for each in found]))


def _chosen_layers(layout: Layout, patterns: str | Iterable[str]) -> dict[str, list[int]]:
    """Return the paths of arrays, each with the numbers of the layers of its stack."""
    names = {path: layout.names[path] for path in layout.parameters}
    known = {name: None for path, ties in names.items() for tie in ties for name in (*tie, path)}
    chosen = select(patterns, known)
    found = {
        path: [
            layer
            for layer, each in enumerate(zip(*ties, strict=True))
            if path in chosen or chosen.intersection(each)
        ]
        for path, ties in names.items()
    }
    return {path: layers for path, layers in found.items() if layers}


def _of_layers(
    function: Callable[[Array], Array], weight: Array, stacked: int, layers: list[int], path: str
) -> Array:
    try:
        if not stacked:
            return function(weight)
        flat = weight.reshape(-1, *weight.shape[stacked:])
        if len(layers) < len(flat):
            flat = let_xla_place(lambda weight: weight[jnp.array(layers)], flat, kept=0)
        return jax.vmap(function)(flat)
    except (TypeError, ValueError) as error:
        error.add_note(f"This is the penalty of {path}: patterns= chooses others")
        raise
