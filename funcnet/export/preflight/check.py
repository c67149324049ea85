"""Name what cannot be exported to a target, before anything is written."""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Params, PyTree, State
from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.obstacles import draws_numbers, obstacle
from funcnet.core.jax_internals.operations import operation_kind
from funcnet.export.flat import FlatFunction, flatten_entry
from funcnet.export.preflight.finding import Finding, below_each_other
from funcnet.export.preflight.opening import needs_a_number
from funcnet.export.preflight.sites import Located, located
from funcnet.export.preflight.targets import Advice, Target, target_named
from funcnet.export.specs import ArraySpec, Entry, entries

__all__ = ["check_exportable", "examined", "preflight", "show_warnings"]


def preflight(
    net: Any,
    params: Params,
    state: State,
    *inputs: PyTree,
    target: str = "stablehlo",
    preprocess: Callable[..., Any] | None = None,
    returns_state: bool = False,
    **keywords: Any,
) -> list[Finding]:
    """Name what of a function cannot be exported to a target; nothing is written.

    Every exporter asks this first. Findings name the layer, the line of your code, the operation, why it cannot be
    exported and what to write instead: calls of LAPACK behind ``qr``, ``svd``, ``eigh``; callbacks and prints;
    random numbers of a key that is always the same (a warning); dtypes, open lengths and operations that the target
    lacks; what is laid out over several devices.

    Args:
        net: a Functional, any ``(params, state, *inputs) -> (output, state)``, or a dict of `entry`.
        params: as from ``net.init``.
        state: likewise.
        *inputs: for each input a `spec`, or an example array.
        target: ``"stablehlo"`` (the artifact of `save`), ``"native"``, ``"onnx"``, ``"tensorflow"``, ``"litert"`` or
            ``"iree"``.
        preprocess: as for `entry`.
        returns_state: as for `entry`.
        **keywords: static arguments of the function, such as ``train=True``.

    Returns:
        What was found, in the order of the program; empty if nothing.

    Raises:
        ValueError: there is no such target.

    Example:
        >>> def whiten(params, state, x):
        ...     return jnp.linalg.qr(x)[0], state
        >>> for finding in fn.export.preflight(whiten, {}, {}, fn.export.spec((4, 3))):
        ...     print(finding.operation, finding.severity)
        qr error
    """
    chosen = target_named(target)
    asked = entries(net, inputs, "call", preprocess, returns_state, **keywords)
    found: list[Finding] = []
    for entry in asked.values():
        found += _of_entry(entry, params, state, chosen)
    return list(dict.fromkeys(found))


def _of_entry(entry: Entry, params: Params, state: State, target: Target) -> list[Finding]:
    """Examine a function, if it can be traced."""
    try:
        return examined(flatten_entry(entry, params, state), target, None)
    except Exception as error:
        needy = needs_a_number(error, entry, params, state)
        if needy is None:
            raise
        if target.open_lengths:
            return [needy]
        ones = dict.fromkeys(entry.symbols, 1)
        return examined(flatten_entry(entry, params, state, [ones]), target, None)


def check_exportable(
    flat: FlatFunction,
    name: str,
    target: str,
    sizes: Mapping[str, int] | None = None,
    platform: str | None = None,
    known: Collection[str] = (),
) -> list[Finding]:
    """Refuse a function that a target cannot take; called by each exporter before it writes.

    Args:
        flat: the function.
        name: what it is called in the file.
        target: as for `preflight`.
        sizes: numbers of the open lengths, where the program that is written has fixed ones.
        platform: that the program is lowered for, where it is another than the target's own.
        known: kinds of operations (`operation_kind`) that the exporter writes by rules of the user's.

    Returns:
        Warnings, which `show_warnings` shows.

    Raises:
        ExportError: it cannot be exported; the message lists everything that was found.
    """
    chosen = replace(target_named(target), known=frozenset(known))
    if platform is not None:
        chosen = replace(chosen, platform=platform)
    found = examined(flat, chosen, sizes)
    if any(finding.stops for finding in found):
        raise ExportError(
            f"the function {name!r} cannot be exported to {target}; nothing was written:\n{below_each_other(found)}"
        )
    return found


def show_warnings(name: str, found: Iterable[Finding]) -> None:
    """Warn the caller of an exporter, which calls this, of what was found."""
    for finding in found:
        warnings.warn(f"{name}: {finding}", stacklevel=3)


def examined(flat: FlatFunction, target: Target, sizes: Mapping[str, int] | None) -> list[Finding]:
    """Look through a function's inputs, weights and operations."""
    found = [*_of_arrays(flat, target), *_of_weights(flat)]
    if sizes is None and flat.symbols and not target.open_lengths:
        sizes = dict.fromkeys(flat.symbols, 1)
        found.append(_of_lengths(flat, target))
    for site in located(flat.trace(sizes), target.platform):
        found += _of_site(site, target)
    return list(dict.fromkeys(found))


def _of_arrays(flat: FlatFunction, target: Target) -> Iterator[Finding]:
    """Say what is wrong with inputs and weights themselves."""
    yield from _of_width(flat.inputs, target)
    arrays = [(f"input {each.name}", each.dtype) for each in flat.inputs]
    arrays += [(f"weight {name}", array.dtype) for name, array in flat.weights.items()]
    for what, dtype in arrays:
        advice = target.dtypes.get(jnp.dtype(dtype).name)
        if advice is not None:
            yield Finding("error", f"the {what} has {advice.problem}", advice.instead)


def _of_width(inputs: Sequence[ArraySpec], target: Target) -> Iterator[Finding]:
    """Name inputs of 64 bits where JAX computes with 32; ONNX's files convert them."""
    for each in inputs if target.name != "onnx" else ():
        kept = jax.dtypes.canonicalize_dtype(each.dtype)
        if kept != each.dtype and each.dtype.name not in target.dtypes:
            yield Finding(
                "error",
                f"the input {each.name} is {each.dtype.name}, which JAX makes {kept.name} of",
                f"spec(..., jnp.{kept.name}), or jax.config.update('jax_enable_x64', True) before the model is made",
            )


def _of_lengths(flat: FlatFunction, target: Target) -> Finding:
    names = ", ".join(flat.symbols)
    problem = f"the lengths {names} are open, and {target.name} takes fixed ones alone: each is 1"
    return Finding("warning", problem, f"say which: sizes=[{dict.fromkeys(flat.symbols, 8)}]")


def _of_weights(flat: FlatFunction) -> Iterator[Finding]:
    for name, array in flat.weights.items():
        placed = getattr(array, "sharding", None)
        if isinstance(array, jax.Array) and placed is not None and placed.num_devices > 1:
            problem = f"the weight {name} lies on {placed.num_devices} devices, and an exported function runs on one"
            yield Finding("error", problem, "params = jax.device_put(params, jax.devices()[0])")


def _of_site(site: Located, target: Target) -> Iterator[Finding]:
    """Say what is wrong with one operation."""
    kind = obstacle(site.operation)
    advice = target.advice_on(kind) if kind else None
    if target.name == "onnx":
        advice = _without_rule(site, advice, target.known)
    if advice is not None:
        yield site.finding("error", *advice)
        return
    if draws_numbers(site.operation) and site.constant[0]:
        yield site.finding("warning", *_CONSTANT_KEY)
    for dtype in _dtypes(site.operation.results) if site.is_leaf else ():
        lacking = target.dtypes.get(dtype)
        if lacking is not None:
            yield site.finding("error", f"makes {lacking.problem}", lacking.instead)


def _without_rule(site: Located, advice: Advice | None, known: Collection[str]) -> Advice | None:
    """Say why ONNX lacks an operation: there is no rule for it, and it is not worked out while exporting."""
    from funcnet.export.operators import RULES

    kind = operation_kind(site.operation)
    in_place = (
        kind in _WALKED_INTO or kind in RULES or kind in known or site.operation.control is not None
    )
    worked_out = all(site.constant) and not site.operation.acts
    if in_place or worked_out:
        return None
    return advice or Advice(
        "has no rule that writes it in ONNX",
        f"write it with other operations, or give export.onnx a rule of your own: rules={{{kind!r}: rule}}",
    )


_WALKED_INTO = {"call", "dim_as_value", "platform_index"}

_CONSTANT_KEY = (
    "draws with a key that is made inside of the function, so that every call gives the same numbers",
    "make the key an input: spec((2,), jnp.uint32, 'key'), wrapped by jax.random.wrap_key_data in preprocess",
)


def _dtypes(results: Iterable[Any]) -> list[str]:
    names = (str(each.dtype) for each in results if hasattr(each, "dtype"))
    return list(dict.fromkeys(names))
