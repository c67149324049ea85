"""A record of the arguments for which a function was traced, and how those of one more trace differ."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.core import Tracer

from funcnet.core.errors import RetraceError
from funcnet.core.paths import join, leaves_with_paths
from funcnet.transforms.arguments import wraps

__all__ = ["Trace", "limited"]

_LONGEST_VALUE = 80


@dataclass(frozen=True)
class _LeafType:
    """One leaf of the arguments as a trace sees it: an array's type, or a static value."""

    shape: str = ""
    dtype: str = ""
    weak: str = ""
    sharding: str = ""
    static: str = ""

    def __str__(self) -> str:
        """Show an array as its type, a static value as itself."""
        if self.static:
            return f"static {self.static}"
        return " ".join(filter(None, (f"{self.dtype}{self.shape}", self.weak, self.sharding)))


@dataclass(frozen=True)
class Trace:
    """The arguments for which a function was traced once.

    Attributes:
        leaves: dotted path of each argument leaf to what is known of it.
        structure: the arguments' containers.
        named: the arguments that were passed by name.
    """

    leaves: dict[str, _LeafType]
    structure: str
    named: tuple[str, ...] = ()

    def __str__(self) -> str:
        """List the leaves, one a line."""
        return "\n".join(f"{path}: {leaf}" for path, leaf in self.leaves.items())

    def differences(self, earlier: "Trace") -> list[str]:
        """Say in one line each how this trace's arguments differ from an earlier one's."""
        lines = []
        for path in dict.fromkeys([*earlier.leaves, *self.leaves]):
            before, now = earlier.leaves.get(path), self.leaves.get(path)
            if before is None:
                lines.append(f"{path}: absent -> {now}")
            elif now is None:
                lines.append(f"{path}: {before} -> absent")
            else:
                lines.extend(f"{path}: {line}" for line in _leaf_differences(before, now))
        if not lines and self.structure != earlier.structure:
            lines.append(f"tree structure: {earlier.structure} -> {self.structure}")
        if not lines:
            ways = ("by position", "by name")
            for name in sorted({*self.named} ^ {*earlier.named}):
                before, now = name in earlier.named, name in self.named
                lines.append(f"{name}: passed {ways[before]} -> {ways[now]}")
        return lines


def _leaf_differences(before: _LeafType, now: _LeafType) -> list[str]:
    if bool(before.static) != bool(now.static):
        return [f"{before} -> {now}"]
    words = {
        "shape": "shape",
        "dtype": "dtype",
        "weak": "weak type",
        "sharding": "sharding",
        "static": "static value",
    }
    return [
        f"{word} {getattr(before, field) or 'none'} -> {getattr(now, field) or 'none'}"
        for field, word in words.items()
        if getattr(before, field) != getattr(now, field)
    ]


def _leaf(value: Any) -> _LeafType:
    if not isinstance(value, Tracer):
        shown = repr(value)
        if len(shown) > _LONGEST_VALUE:
            shown = shown[:_LONGEST_VALUE] + "…"
        return _LeafType(static=shown)
    aval = jax.typeof(value)
    spec = getattr(getattr(aval, "sharding", None), "spec", ())
    return _LeafType(
        shape=str(list(aval.shape)),
        dtype=str(aval.dtype),
        weak="weak" if getattr(aval, "weak_type", False) else "",
        sharding=str(spec) if any(entry is not None for entry in spec) else "",
    )


def _trace(signature: inspect.Signature, args: Any, kwargs: Any) -> Trace:
    arguments = signature.bind(*args, **kwargs).arguments
    leaves = {
        join(name, path): _leaf(leaf)
        for name, value in arguments.items()
        for path, leaf in leaves_with_paths(value)
    }
    structures = {name: str(jax.tree.structure(value)) for name, value in arguments.items()}
    return Trace(leaves, str(structures), tuple(sorted(kwargs)))


def limited(fun: Callable[..., Any], max_traces: float) -> tuple[Callable[..., Any], list[Trace]]:
    """Return ``fun`` with its traces written down, and the list they are written to.

    The function's Python body runs once a trace, and only then: the compiled calls in between pay
    nothing for it.
    """
    traces: list[Trace] = []
    signature = inspect.signature(fun)

    @wraps(fun)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        if jax.config.jax_disable_jit:  # type: ignore[attr-defined]
            return fun(*args, **kwargs)
        trace = _trace(signature, args, kwargs)
        if len(traces) >= max_traces:
            raise RetraceError(_message(fun, trace, traces, max_traces))
        output = fun(*args, **kwargs)
        traces.append(trace)
        return output

    return recorded, traces


def _message(fun: Callable[..., Any], trace: Trace, traces: list[Trace], max_traces: float) -> str:
    name = getattr(fun, "__name__", repr(fun))
    times = "once" if max_traces == 1 else f"{max_traces} times"
    closest = min((trace.differences(earlier) for earlier in traces), key=len, default=[])
    reasons = closest or [
        "no argument differs: the cache was cleared, or a mesh or global setting of JAX changed"
    ]
    lines = "\n".join(f"  {line}" for line in reasons)
    return (
        f"{name} may be traced {times} (max_traces={max_traces}), and this call needs one more. "
        f"It differs from the most similar earlier trace in:\n{lines}\n"
        "Make the arguments alike, or allow more traces; see RetraceError for common causes."
    )
