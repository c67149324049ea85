"""state_dict and load_state_dict: the trees under PyTorch's dotted names."""

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
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
from funcnet.module.specs import Spec

__all__ = [
    "all_names",
    "as_array",
    "load_state_dict",
    "match_state_dict",
    "nearest",
    "other_names",
    "state_dict",
]

_SIMILAR = 0.75
"""From 0 to 1: how alike two names must be for one to be offered for the other."""

_MOST_COMPARED = 400
"""Names: comparing each with each takes the square of it."""

_MOST_SHOWN = 8

_OLD_ENDINGS = (
    ("gamma", "weight"),
    ("beta", "bias"),
    ("kernel", "weight"),
    ("scale", "weight"),
    ("embedding", "weight"),
    ("weight_g", "parametrizations.weight.original0"),
    ("weight_v", "parametrizations.weight.original1"),
    ("weight_orig", "parametrizations.weight.original"),
    ("weight_u", "parametrizations.weight.0._u"),
    ("weight_v", "parametrizations.weight.0._v"),
)
"""Last parts of names, as older files or other libraries spell them, and as PyTorch does."""

_ORIGINALS = {
    "_mask": "they were pruned, and arrays, masks = compression.split_pruned(arrays) makes one of both",
    "_u": "their layers had a spectral norm, and need one here: nn.utils.spectral_norm(layer)",
}
"""What stands beside a name with ``_orig``, and what to do."""

_WRAPPERS = ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""What PyTorch's wrappers (of compiling, of data parallelism, of recomputing) put into names."""


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
        TypeError: no mapping of names to arrays.
        StateDictError: names are missing or left over, or shapes differ; the message lists all of them.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> params, state = fn.load_state_dict(layer, {"weight": np.ones((2, 3)), "bias": np.zeros(2)})
        >>> fn.functionalize(layer).apply(params, state, jnp.ones(3))[0].tolist()
        [3.0, 3.0]
    """
    if default is not None and not (isinstance(default, tuple | list) and len(default) == 2):
        raise TypeError(
            "default is a pair, (params, state), such as net.init(key) returns; "
            f"got a {type(default).__name__}"
        )
    if not hasattr(mapping, "keys"):
        got = type(mapping).__name__
        raise TypeError(f"a dict of names and arrays is loaded, as from load_arrays; got {got}")
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
        hints = _name_hints(missing, unexpected, mapping) if strict else []
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
    hint = _axes_hint(shape, spec.shape)
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


# ---- what may be meant --------------------------------------------------------------------------


def nearest(word: str, names: Iterable[str], count: int = _MOST_SHOWN) -> list[str]:
    """Return the names most like a word, the most alike first; of very many names, those that share a part with it."""
    names = list(names)
    if len(names) > _MOST_COMPARED:
        parts = {part for part in word.split(".") if part}
        names = [name for name in names if parts & set(name.split("."))][:_MOST_COMPARED]
    return difflib.get_close_matches(word, names, count, 0.5)


def _name_hints(
    missing: Sequence[str], unexpected: Sequence[str], given: Iterable[str]
) -> list[str]:
    """Say what would make names fit, a line each: another prefix, an old spelling, a slip of the pen.

    Args:
        missing: names that were expected.
        unexpected: names that came and were not expected.
        given: all names that came.
    """
    if not missing or not unexpected:
        return []
    for hint in (_prefix_too_much, _wrapper_within, _prefix_too_little):
        if found := hint(missing, unexpected, list(given)):
            return [found]
    left, hints = _with_originals(missing, unexpected)
    left, more = _old_endings(left, unexpected)
    return hints + more + _slips(left, unexpected)


def _tails(name: str) -> Iterable[tuple[str, str]]:
    """Every way to cut a name into a beginning that ends in a dot, and the rest."""
    at = name.find(".")
    while at >= 0:
        yield name[: at + 1], name[at + 1 :]
        at = name.find(".", at + 1)


def _common_beginning(long: Iterable[str], short: Iterable[str], half_of: int) -> str:
    """Find what begins names that without it are known, for half of them at least."""
    known = set(short)
    counts = Counter(begin for name in long for begin, rest in _tails(name) if rest in known)
    beginning, count = counts.most_common(1)[0] if counts else ("", 0)
    return beginning if 2 * count >= half_of else ""


def _prefix_too_much(
    missing: Sequence[str], unexpected: Sequence[str], given: Sequence[str]
) -> str:
    beginning = _common_beginning(unexpected, missing, len(missing))
    if not beginning:
        return ""
    count = sum(name.startswith(beginning) for name in given)
    rename = f"rename={{'{beginning}*': '*'}}"
    if count == len(given):
        return f"all {count} names begin with {beginning!r}: load_weights(..., {rename})"
    return (
        f"{count} of {len(given)} names begin with {beginning!r}: "
        f"load_weights(..., select='{beginning}*', {rename})"
    )


def _prefix_too_little(
    missing: Sequence[str], unexpected: Sequence[str], given: Sequence[str]
) -> str:
    beginning = _common_beginning(missing, unexpected, len(missing))
    if not beginning:
        return ""
    return (
        f"the module's names begin with {beginning!r} where these do not: "
        f"load_weights(..., rename={{'*': '{beginning}*'}})"
    )


def _wrapper_within(missing: Sequence[str], unexpected: Sequence[str], given: Sequence[str]) -> str:
    known = set(missing)
    for wrapper in _WRAPPERS:
        inner = f".{wrapper}."
        count = sum(name.replace(inner, ".") in known for name in unexpected if inner in name)
        if 2 * count >= len(missing):
            return (
                f"{count} of {len(given)} names have {inner!r} in them: "
                f"load_weights(..., rename={{'*{inner}*': '*.*'}})"
            )
    return ""


def _with_originals(
    missing: Sequence[str], unexpected: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Explain names that PyTorch's pruning and its spectral norms leave; return what is left, and the hints."""
    left, hints = list(missing), []
    for ending, what in _ORIGINALS.items():
        found = {name for name in left if {f"{name}_orig", f"{name}{ending}"} <= set(unexpected)}
        if found:
            left = [name for name in left if name not in found]
            hints.append(f"{len(found)} arrays came as _orig and {ending}: {what}")
    return left, hints


def _old_endings(missing: Sequence[str], unexpected: Sequence[str]) -> tuple[list[str], list[str]]:
    """Explain names with another spelling at the end; return what is left, and the hints."""
    left, hints = list(missing), []
    for old, new in _OLD_ENDINGS:
        explained = {
            f"{name.removesuffix(old)}{new}"
            for name in unexpected
            if f".{name}".endswith(f".{old}")
        } & set(left)
        if explained:
            left = [name for name in left if name not in explained]
            hints.append(
                f"{len(explained)} names end in {old!r} where PyTorch has {new!r} now: "
                f"load_weights(..., rename={{'*.{old}': '*.{new}'}})"
            )
    return left, hints


def _slips(missing: Sequence[str], unexpected: Sequence[str]) -> list[str]:
    hints = []
    for name in missing[:_MOST_SHOWN]:
        near = [
            other
            for other in nearest(name, unexpected, 1)
            if difflib.SequenceMatcher(None, name, other).ratio() >= _SIMILAR
        ]
        hints += [f"is {near[0]} meant to be {name}?"] if near else []
    return hints


def _axes_hint(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> str:
    """Say which order of the axes would make a shape fit, if one would."""
    if len(shape) != len(declared) or not 2 <= len(shape) <= 5:
        return ""
    for axes in permutations(range(len(shape))):
        if all(known in (None, shape[axis]) for axis, known in zip(axes, declared, strict=True)):
            order = ".T" if len(shape) == 2 else f".transpose{axes}"
            return f", which array{order} would have"
    return ""
