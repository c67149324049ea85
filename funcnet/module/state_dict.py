"""state_dict and load_state_dict: the trees under PyTorch's dotted names."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Params, State
from funcnet.core.errors import StateDictError
from funcnet.core.paths import flatten, nest
from funcnet.module.binding import describe, fits, mismatch_message
from funcnet.module.layout import layout_of
from funcnet.module.module import Module
from funcnet.module.specs import Spec

__all__ = ["load_state_dict", "state_dict"]


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
    layout = layout_of(describe(module))
    values = flatten(params) | flatten(state or {})
    expected = layout.specs if state is not None else layout.parameters
    missing = [path for path in expected if path not in values]
    unexpected = [path for path in values if path not in expected]
    if missing or unexpected:
        raise StateDictError(
            mismatch_message("the trees do not fit the module", missing, unexpected)
        )
    return {name: values[path] for path in expected for name in layout.names[path]}


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
    layout = layout_of(describe(module))
    known = {name for names in layout.names.values() for name in names}
    found: dict[str, Any] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for path, spec in layout.specs.items():
        given = [name for name in layout.names[path] if name in mapping]
        if not given:
            missing.append(path)
            continue
        arrays = {name: as_array(mapping[name]) for name in given}
        wrong += [
            f"  {name} has shape {array.shape}; the module declares {spec.shape}"
            for name, array in arrays.items()
            if not fits(array.shape, spec)
        ]
        wrong += _disagreements(arrays)
        found[path] = _stored(arrays[given[0]], spec)
    unexpected = [name for name in mapping if name not in known]
    if wrong or (strict and (missing or unexpected)):
        listed = mismatch_message(
            "the state dict does not fit the module",
            *((missing, unexpected) if strict else ([], [])),
        )
        raise StateDictError("\n".join([listed, *wrong]))
    if default is not None:
        defaults = flatten(default[0]) | flatten(default[1])
        found |= {path: defaults[path] for path in missing if path in defaults}
    params = {path: found[path] for path in layout.parameters if path in found}
    return nest(params), nest({path: found[path] for path in layout.buffers if path in found})


def as_array(value: Any) -> np.ndarray | Array:
    """Take an array of JAX, NumPy or PyTorch as one that NumPy understands."""
    if hasattr(value, "detach"):  # a PyTorch tensor, without importing PyTorch
        value = value.detach().cpu().contiguous()
        if (
            str(value.dtype) == "torch.bfloat16"
        ):  # NumPy has none: through the array protocol, copied
            return jnp.array(jax.dlpack.from_dlpack(value), copy=True)
    return value if isinstance(value, jax.Array) else np.asarray(value)


def _disagreements(arrays: dict[str, Any]) -> list[str]:
    (first, value), *others = arrays.items()
    return [
        f"  {name} differs from {first}, but the module ties them into one parameter"
        for name, other in others
        if other is not value and not np.array_equal(np.asarray(other), np.asarray(value))
    ]


def _stored(array: Any, spec: Spec) -> Array:
    keep = jnp.issubdtype(array.dtype, jnp.inexact) and jnp.issubdtype(spec.dtype, jnp.inexact)
    stored = jnp.array(array, copy=True)  # in 32-bit mode this also narrows float64
    return stored if keep else stored.astype(spec.dtype)
