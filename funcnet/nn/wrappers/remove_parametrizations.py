"""Parametrized layers made plain again."""

from collections.abc import Iterable
from typing import Any

import jax

from funcnet.core.aliases import Array, Params, State
from funcnet.core.paths import nest
from funcnet.module import Functional, Module, Parameter, functionalize
from funcnet.module.description import layout_of, replaced
from funcnet.module.layout import Layout
from funcnet.module.rewriting.parts import arrays_by_path, chosen_layers, description_of, trees_of
from funcnet.module.specs import Spec
from funcnet.nn import init
from funcnet.nn.wrappers.register_parametrization import (
    Parametrized,
    parametrized_class,
    plain_class,
)
from funcnet.nn.wrappers.spectral_norm import SpectralNorm
from funcnet.nn.wrappers.weight_norm import WeightNorm

__all__ = [
    "is_parametrized",
    "remove_parametrizations",
    "remove_spectral_norm",
    "remove_weight_norm",
    "type_before_parametrizations",
]


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Say whether a parameter of a layer is computed from others, or whether any is.

    Args:
        module: the layer.
        tensor_name: the name of the parameter; None for any.

    Returns:
        Whether it is; parts of the layer are not asked.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 4))
        >>> nn.utils.parametrize.is_parametrized(layer), nn.utils.parametrize.is_parametrized(layer, "bias")
        (True, False)

    Reference: ``torch.nn.utils.parametrize.is_parametrized``.
    """
    names = parametrized_names(module)
    return bool(names) if tensor_name is None else tensor_name in names


def type_before_parametrizations(module: Module) -> type:
    """Return the class that a layer had before any of its parameters was parametrized.

    Args:
        module: the layer, parametrized or not.

    Returns:
        The class.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 4))
        >>> nn.utils.parametrize.type_before_parametrizations(layer).__name__
        'Linear'

    Reference: ``torch.nn.utils.parametrize.type_before_parametrizations``.
    """
    return plain_class(module)


def remove_parametrizations(
    module: Module | Functional,
    params: Params,
    state: State,
    tensor_name: str = "weight",
    leave_parametrized: bool = True,
    patterns: str | Iterable[str] = "*",
) -> tuple[Module, Params, State]:
    """Make a parameter that is computed from others an ordinary one again.

    What was given is not touched.

    Args:
        module: a layer or a model.
        params: its parameters.
        state: its buffers.
        tensor_name: the name of the parameter, in every layer that has it parametrized.
        leave_parametrized: keep the value that was computed (as in evaluation); else go back to the original, which
            only parametrizations of a single array allow.
        patterns: globs on the paths of the layers.

    Returns:
        The new description, its parameters and its state.

    Raises:
        ValueError: no such layer, an array that is tied to another layer's, or no single original to go back to.

    Example:
        >>> layer = nn.parametrizations.weight_norm(nn.Linear(3, 4))
        >>> net = fn.functionalize(layer)
        >>> plain, params, state = nn.utils.parametrize.remove_parametrizations(layer, *net.init(jax.random.key(0)))
        >>> plain, {name: array.shape for name, array in params.items()}
        (Linear(in_features=3, out_features=4), {'bias': (4,), 'weight': (4, 3)})

    Reference: ``torch.nn.utils.parametrize.remove_parametrizations``.
    """
    return _removed(module, params, state, tensor_name, leave_parametrized, patterns, Module)


def remove_weight_norm(
    module: Module | Functional, params: Params, state: State, name: str = "weight"
) -> tuple[Module, Params, State]:
    """Make the weights that `weight_norm` took apart ordinary ones again, with the values that they have.

    Args:
        module: a layer or a model.
        params: its parameters.
        state: its buffers.
        name: the name of the parameter.

    Returns:
        The new description, its parameters and its state.

    Raises:
        ValueError: no layer has a weight norm of that name.

    Example:
        >>> layer = nn.utils.weight_norm(nn.Linear(3, 4))
        >>> nn.utils.remove_weight_norm(layer, *fn.functionalize(layer).init(jax.random.key(0)))[0]
        Linear(in_features=3, out_features=4)

    Reference: ``torch.nn.utils.remove_weight_norm``.
    """
    return _removed(module, params, state, name, True, "*", WeightNorm)


def remove_spectral_norm(
    module: Module | Functional, params: Params, state: State, name: str = "weight"
) -> tuple[Module, Params, State]:
    """Make the weights that `spectral_norm` divides ordinary ones again, with the values that they have.

    Args:
        module: a layer or a model.
        params: its parameters.
        state: its buffers.
        name: the name of the parameter.

    Returns:
        The new description, its parameters and its state.

    Raises:
        ValueError: no layer has a spectral norm of that name.

    Example:
        >>> layer = nn.utils.spectral_norm(nn.Linear(3, 4))
        >>> nn.utils.remove_spectral_norm(layer, *fn.functionalize(layer).init(jax.random.key(0)))[2]
        {}

    Reference: ``torch.nn.utils.remove_spectral_norm``.
    """
    return _removed(module, params, state, name, True, "*", SpectralNorm)


def parametrized_names(module: Module) -> tuple[str, ...]:
    """Return the names of a layer's parameters that are computed from others."""
    return tuple(vars(module)["parametrizations"]) if isinstance(module, Parametrized) else ()


def _removed(
    module: Module | Functional,
    params: Params,
    state: State,
    name: str,
    leave: bool,
    patterns: str | Iterable[str],
    kind: type,
) -> tuple[Module, Params, State]:
    module = description_of(module)
    layout = layout_of(module)
    arrays = {layout.specs[path]: a for path, a in arrays_by_path(module, params, state).items()}
    made: dict[int, Spec] = {}
    for path, layer in _chosen(module, name, patterns, kind).items():
        made[id(layer)], value = _plain_parameter(layout, arrays, path, layer, name, leave)
        arrays[made[id(layer)]] = value

    def exchange(old: Module, new: Module) -> Module:
        return _without(new, name, made[id(old)]) if id(old) in made else new

    rewritten = replaced(module, exchange)
    specs = layout_of(rewritten).specs
    return rewritten, *trees_of(rewritten, {path: arrays[spec] for path, spec in specs.items()})


def _chosen(
    module: Module, name: str, patterns: str | Iterable[str], kind: type
) -> dict[str, Module]:
    """Return the layers that have a parameter of a name computed, first of all by a module of a class."""
    made = {
        path: layer
        for path, layer in layout_of(module).modules.items()
        if name in parametrized_names(layer)
        and isinstance(vars(vars(layer)["parametrizations"][name])["0"], kind)
    }
    if not made:
        what = "parametrized" if kind is Module else f"computed by a {kind.__name__}"
        raise ValueError(f"no layer of this model has a parameter {name!r} that is {what}")
    layers = chosen_layers(module, patterns, Parametrized)
    return {path: layer for path, layer in made.items() if path in layers}


def _plain_parameter(
    layout: Layout, arrays: dict[Spec, Array], path: str, layer: Module, name: str, leave: bool
) -> tuple[Spec, Array]:
    """Return the declaration of a parameter that is no longer computed, and its array."""
    computed = vars(layer)["parametrizations"][name]
    originals = [vars(computed)[key] for key in computed.original_names]
    if not leave:
        if len(originals) != 1:
            raise ValueError(
                f"{name} of {path or type(layer).__name__} is computed of {len(originals)} arrays, so that there is no "
                "original to go back to: leave out leave_parametrized=False"
            )
        return originals[0], arrays[originals[0]]
    if any(len(layout.owners[id(spec)]) > 1 for spec in originals):
        raise ValueError(
            f"the original of {name} of {path or type(layer).__name__} is tied to another layer's array, and cannot be "
            "changed for one of them alone: untie it first, or write leave_parametrized=False"
        )
    value = _value(layout, arrays, path, computed)
    shape = value.shape[len(layout.module_sizes[path]) :]
    alike = [spec for spec in originals if spec.shape == shape and spec.dtype == value.dtype]
    return (alike[-1] if alike else _declared(shape, value.dtype)), value


def _declared(shape: tuple[int, ...], dtype: Any) -> Any:
    return Parameter(shape, init.zeros(), dtype)


def _value(layout: Layout, arrays: dict[Spec, Array], path: str, computed: Module) -> Array:
    """Compute a parameter as evaluation does; for each layer of a stack."""
    own = {inner: arrays[spec] for inner, spec in layout_of(computed).specs.items()}
    net = functionalize(computed)

    def compute(trees: tuple[Params, State]) -> Array:
        return net.apply(*trees)[0]

    for _ in layout.module_sizes[path]:
        compute = jax.vmap(compute)
    return compute(_nested_by_kind(computed, own))


def _nested_by_kind(module: Module, arrays: dict[str, Array]) -> tuple[Params, State]:
    """Return the trees of arrays that may have leading axes."""
    layout = layout_of(module)
    return (
        nest({path: arrays[path] for path in layout.parameters}),
        nest({path: arrays[path] for path in layout.buffers}),
    )


def _without(layer: Module, name: str, spec: Spec) -> Module:
    """Give a copied layer its parameter back, and its class if nothing else is computed."""
    own = vars(layer)
    own["parametrizations"].pop(name)
    left = tuple(own["parametrizations"])
    if not left:
        own.pop("parametrizations")
    base = plain_class(layer)
    layer.__class__ = parametrized_class(base, left) if left else base
    own[name] = spec
    return layer
