"""state_dict and load_state_dict: the trees under PyTorch's dotted names."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Params, State
from funcnet.core.errors import ParameterTreeError, StateDictError
from funcnet.core.paths import flatten, nest
from funcnet.module.description import layout_of
from funcnet.module.layout import fits, match_paths, mismatch_message
from funcnet.module.module import Module
from funcnet.module.name_hints import axes_hint, name_hints
from funcnet.module.specs import Spec

__all__ = [
    "all_names",
    "as_array",
    "load_state_dict",
    "match_state_dict",
    "other_names",
    "state_dict",
]


def state_dict(module: Module, params: Params, state: State | None = None) -> dict[str, Array]:
    """Return every array under each name that PyTorch's ``state_dict`` would give it.

    Args:
        module: the description that the trees belong to.
        params: the trained arrays.
        state: the buffers; without them only parameters are named.

    Returns:
        Dotted names to arrays; a tied parameter appears under each of its names.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> params, state = fn.functionalize(layer).init(jax.random.key(0))
        >>> sorted(fn.state_dict(layer, params, state))
        ['bias', 'weight']
    """
    layout = layout_of(module)
    expected = layout.specs if state is not None else layout.parameters
    values = flatten(params) | flatten(state or {})
    try:
        match_paths(expected, values, "the trees together")
    except ParameterTreeError as error:
        raise StateDictError(str(error)) from None
    named: dict[str, Array] = {}
    for path in expected:
        for names in layout.names[path]:
            named.update(zip(names, _layers(values[path], layout.sizes[path]), strict=True))
    return named


def _layers(array: Array, sizes: tuple[int, ...]) -> Sequence[Array]:
    """Split a stacked array into those of its layers; any other array is its own only layer."""
    if not sizes:
        return [array]
    flat = array.reshape(math.prod(sizes), *array.shape[len(sizes) :])
    return [flat[layer] for layer in range(len(flat))]


def load_state_dict(
    module: Module,
    mapping: Mapping[str, Any],
    strict: bool = True,
    *,
    default: tuple[Params, State] | None = None,
) -> tuple[Params, State]:
    """Turn dotted names into the params and state of a module: the inverse of `state_dict`.

    Floating-point arrays keep their own dtype (weights saved in bfloat16 stay so); integers and booleans
    take the declared one.

    Args:
        module: a description.
        mapping: dotted names to arrays: JAX's, NumPy's or PyTorch's.
        strict: raise if a name is missing or left over. A tied parameter needs one of its names.
        default: ``(params, state)`` that give the values of missing names when not strict, such as
            ``net.init(key)``; without it they are missing from the trees.

    Raises:
        StateDictError: names are missing or left over, or shapes differ; the message lists all of them.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> params, state = fn.load_state_dict(layer, {"weight": np.ones((2, 3)), "bias": np.zeros(2)})
        >>> fn.functionalize(layer).apply(params, state, jnp.ones(3))[0].tolist()
        [3.0, 3.0]
    """
    layout = layout_of(module)
    plan = match_state_dict(module, mapping, strict)
    found: dict[str, Any] = {}
    wrong: list[str] = []
    for path, spec in layout.specs.items():
        if path not in plan:
            continue
        whole, sizes = plan[path], layout.sizes[path]
        if not whole:  # optional, and not in the mapping
            start = spec.init(jax.random.key(0), spec.sizes, spec.dtype)
            found[path] = jnp.broadcast_to(start, (*sizes, *spec.sizes))
            continue
        arrays = {name: as_array(mapping[name]) for names in whole for name in names}
        wrong += _disagreements(arrays, whole)
        layers = [_stored(arrays[name], spec) for name in whole[0]]
        found[path] = jnp.stack(layers).reshape(*sizes, *layers[0].shape) if sizes else layers[0]
    if wrong:
        raise StateDictError("\n".join(["the state dict does not fit the module", *wrong]))
    if default is not None:
        defaults = flatten(default[0]) | flatten(default[1])
        found = {path: defaults[path] for path in layout.specs if path in defaults} | found
    params = {path: found[path] for path in layout.parameters if path in found}
    return nest(params), nest({path: found[path] for path in layout.buffers if path in found})


def match_state_dict(
    module: Module, mapping: Mapping[str, Any], strict: bool, what: str = "the state dict"
) -> dict[str, list[tuple[str, ...]]]:
    """Find the names of each array, by its path, that a mapping has; only shapes are looked at.

    Args:
        module: a description.
        mapping: dotted names to whatever has a shape.
        strict: raise if a name is missing or left over.
        what: is matched, for messages.

    Raises:
        StateDictError: names are missing or left over, or shapes differ; the message lists all of them, and what may
            be meant.
    """
    layout = layout_of(module)
    plan: dict[str, list[tuple[str, ...]]] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for path, spec in layout.specs.items():
        aliases = layout.names[path]
        whole = [names for names in aliases if all(name in mapping for name in names)]
        absent = [name for name in aliases[0] if name not in mapping]
        if whole or (spec.optional and len(absent) == len(aliases[0])):
            plan[path] = whole
        else:
            missing += absent
        wrong += [
            line for names in whole for name in names for line in _misfit(name, mapping[name], spec)
        ]
    known = all_names(module)
    unexpected = [name for name in mapping if name not in known]
    if wrong or (strict and (missing or unexpected)):
        listed = mismatch_message(
            f"{what} does not fit the module", *((missing, unexpected) if strict else ([], []))
        )
        hints = name_hints(missing, unexpected, mapping) if strict else []
        raise StateDictError("\n".join([listed, *wrong, *(f"  hint: {hint}" for hint in hints)]))
    return plan


def all_names(module: Module) -> set[str]:
    """Every name that a state dict of the module may have."""
    names = layout_of(module).names.values()
    return {name for aliases in names for layers in aliases for name in layers}


def other_names(module: Module) -> dict[str, str]:
    """Map each further name of a tied array to its first one."""
    return {
        other: first
        for firsts, *others in layout_of(module).names.values()
        for names in others
        for other, first in zip(names, firsts, strict=True)
    }


def _misfit(name: str, array: Any, spec: Spec) -> list[str]:
    shape = tuple(np.shape(array))
    if fits(shape, spec.shape):
        return []
    hint = axes_hint(shape, spec.shape)
    return [f"  {name} has shape {shape}; the module declares {spec.shape}{hint}"]


def as_array(value: Any) -> np.ndarray | Array:
    """Take an array of JAX, NumPy or PyTorch as one that NumPy understands."""
    if hasattr(value, "detach"):  # a PyTorch tensor, without importing PyTorch
        value = value.detach().cpu().contiguous()
        if (
            str(value.dtype) == "torch.bfloat16"
        ):  # NumPy has none: through the array protocol, copied
            return jnp.array(jax.dlpack.from_dlpack(value), copy=True)
    return value if isinstance(value, jax.Array) else np.asarray(value)


def _disagreements(arrays: dict[str, Any], aliases: list[tuple[str, ...]]) -> list[str]:
    """List the names of tied arrays whose values differ from those under the first name."""
    first, *others = aliases
    return [
        f"  {name} differs from {known}, but the module ties them into one parameter"
        for names in others
        for name, known in zip(names, first, strict=True)
        if arrays[name] is not arrays[known]
        and not np.array_equal(np.asarray(arrays[name]), np.asarray(arrays[known]))
    ]


def _stored(array: Any, spec: Spec) -> Array:
    keep = jnp.issubdtype(array.dtype, jnp.inexact) and jnp.issubdtype(spec.dtype, jnp.inexact)
    stored = jnp.array(array, copy=True)  # in 32-bit mode this also narrows float64
    return stored if keep else stored.astype(spec.dtype)
