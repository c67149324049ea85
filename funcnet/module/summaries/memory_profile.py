"""profile_memory: what holds the peak of a step's memory, by layer."""

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from funcnet.core.files import readable_bytes
from funcnet.module.functionalize import Functional
from funcnet.module.initial_values.lazy_shapes import of_arrays, traced_call
from funcnet.module.module import Module
from funcnet.module.summaries.memory import LiveValue, timeline
from funcnet.module.summaries.operations import kinds_of
from funcnet.module.summaries.places import LayerPlace, OpenPlace
from funcnet.module.summaries.text_table import text_table

__all__ = ["CompiledMemory", "HeldValue", "MemoryProfile", "profile_memory"]

_KINDS = ("residual", "temporary", "result")


class CompiledMemory(NamedTuple):
    """What XLA reserves for a compiled function, on one device.

    Attributes:
        arguments: bytes of its arguments.
        results: of what it returns.
        temporaries: of everything else.
        shared: of results that lie where arguments lay that were donated.

    Example:
        >>> profile = fn.profile_memory(lambda x: x @ x, jnp.ones((64, 64)))
        >>> profile.compiled.arguments, profile.compiled.results
        (16384, 16384)
    """

    arguments: int
    results: int
    temporaries: int
    shared: int

    @property
    def total(self) -> int:
        """All bytes, each counted once."""
        return self.arguments + self.results + self.temporaries - self.shared


@dataclass(frozen=True)
class HeldValue:
    """An array that exists at the peak.

    Attributes:
        bytes: its size.
        shape: its shape.
        dtype: its dtype.
        kind: ``"argument"``; ``"result"``, which the function returns; ``"residual"``, which a forward pass made and
            a backward pass reads; or ``"temporary"``.
        layer: the path of the layer that made it; of an argument ``""``.
        argument: the name of the argument that it belongs to, ``"constants"`` of what the function closes over.
        operation: JAX's name of what made it.
        line: the line of source that asked for it, ``""`` where none is known.

    Example:
        >>> profile = fn.profile_memory(lambda x: jnp.sin(x).sum(), jnp.ones(1024))
        >>> [(value.kind, value.shape, value.bytes) for value in profile.values]
        [('argument', (1024,), 4096), ('temporary', (1024,), 4096), ('result', (), 4)]
    """

    bytes: int
    shape: tuple[int, ...]
    dtype: str
    kind: str
    layer: str
    argument: str
    operation: str
    line: str

    def __str__(self) -> str:
        """Say it in one line."""
        size = f"{readable_bytes(self.bytes)}  {self.dtype}{list(self.shape)}"
        if self.argument:
            return f"{size}  argument {self.argument}"
        of = f" of {self.layer}" if self.layer else ""
        line = f", {self.line}" if self.line else ""
        return f"{size}  {self.kind}{of}: {self.operation}{line}"


@dataclass(frozen=True)
class MemoryProfile:
    """What holds the peak: a table when printed.

    Attributes:
        values: what exists at the peak, the largest first.
        at: where the peak is: the layer, the operation and the line.
        layers: the names of layers' classes by their paths; empty without a model.
        compiled: what XLA reserves; None where it was not asked, or does not tell.

    Example:
        >>> layers = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32))
        >>> net = fn.functionalize(layers)
        >>> params, state = net.init(jax.random.key(0))
        >>> step = fn.grad(lambda params, x: (net.apply(params, state, x)[0] ** 2).mean())
        >>> profile = fn.profile_memory(step, params, jnp.ones((512, 32)), net=net)
        >>> profile.by_layer("residual")
        {'0': 65536, '1': 65536}
    """

    values: tuple[HeldValue, ...]
    at: str
    layers: dict[str, str]
    compiled: CompiledMemory | None = None

    @property
    def peak(self) -> int:
        """The bytes that exist at the peak, before the compiler joins operations."""
        return sum(value.bytes for value in self.values)

    def by_kind(self) -> dict[str, int]:
        """Return the bytes of residuals, temporaries, results and arguments.

        Example:
            >>> profile = fn.profile_memory(lambda x: x @ x, jnp.ones((4, 4)), compile=False)
            >>> profile.by_kind()
            {'argument': 64, 'result': 64, 'residual': 0, 'temporary': 0}
        """
        found: dict[str, int] = dict.fromkeys(("argument", "result", "residual", "temporary"), 0)
        for value in self.values:
            found[value.kind] += value.bytes
        return found

    def by_layer(self, kind: str | None = None) -> dict[str, int]:
        """Return bytes by the layer that made the values, arguments left out.

        Args:
            kind: which values count; all without it.

        Example:
            >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 4)))
            >>> params, state = net.init(jax.random.key(0))
            >>> profile = fn.profile_memory(net, params, state, jnp.ones((5, 3)), compile=False)
            >>> profile.by_layer()
            {'0': 80}
        """
        found: Counter[str] = Counter()
        for value in self.values:
            if not value.argument and kind in (None, value.kind):
                found[value.layer] += value.bytes
        order = list(self.layers) if self.layers else list(found)
        return {layer: found[layer] for layer in order if found[layer]}

    def by_argument(self) -> dict[str, int]:
        """Return the bytes of arguments by their names.

        Example:
            >>> fn.profile_memory(lambda params, x: params * x, jnp.ones(3), jnp.ones(3)).by_argument()
            {'params': 12, 'x': 12}
        """
        found: Counter[str] = Counter()
        for value in self.values:
            if value.argument:
                found[value.argument] += value.bytes
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        """Lay the table out as text."""
        heads = (
            "held by",
            *(f"{kind}s" if kind != "temporary" else "temporaries" for kind in _KINDS),
            "all",
        )
        rows: list[tuple[str, ...]] = [
            (f"argument {name}", "", "", "", _size(size))
            for name, size in self.by_argument().items()
        ]
        each = {kind: self.by_layer(kind) for kind in _KINDS}
        for layer, size in self.by_layer().items():
            cells = [_size(each[kind].get(layer, 0)) for kind in _KINDS]
            rows.append((self._name(layer), *cells, _size(size)))
        lines = [text_table(heads, rows, heads[1:])]
        lines.append(f"peak {readable_bytes(self.peak)}, {self.at}")
        large = [value for value in self.values if not value.argument][:3]
        lines += [f"largest: {value}" for value in large]
        if self.compiled is not None:
            lines.append(_told(self.compiled))
        return "\n".join(lines)

    __repr__ = __str__

    def _name(self, layer: str) -> str:
        kind = self.layers.get(layer, "")
        return f"{layer} ({kind})" if layer and kind else layer or "(outside of layers)"


def profile_memory(
    function: Functional | Callable[..., Any],
    *args: Any,
    net: Functional | None = None,
    compile: bool = True,
    **kwargs: Any,
) -> MemoryProfile:
    """Tell what holds the peak of a step's memory: which arrays exist then, and which layer and line made them.

    The function is traced, not run. Its operations are gone through in the order in which they are written: an array
    exists from the operation that makes it to the last one that reads it, arguments throughout (those that
    ``fn.jit(step, donate_argnums=…)`` gives away, until they are read last), results to the end.

    *Residuals* were made by a forward pass and wait for the backward pass: they grow with the batch and with depth,
    and `fn.remat` or `nn.Remat` makes them fewer. *Temporaries* are all others, gradients on their way included.

    The compiler joins operations, so that many temporaries never exist, and orders them anew: its peak is mostly
    smaller, and sometimes larger, where it copies. ``compiled`` is what it reserves in truth, without saying for what.
    On CPUs XLA may undo what `nn.Remat` asks for. On a mesh the table is of whole arrays, and
    ``compiled`` of one device.

    Args:
        function: a training step, or any function, also a jitted one; or what `functionalize` returned, of which
            ``apply`` is looked at.
        *args: its arguments. Arrays may be ``jax.ShapeDtypeStruct``.
        net: the model that the function calls, for its layers' paths. Without it layers are named by the scopes that
            the models' classes and modules open.
        compile: whether to compile it, to ask XLA.
        **kwargs: keyword arguments.

    Returns:
        A table when printed, with ``peak``, ``values``, ``by_kind()``, ``by_layer(kind)``, ``by_argument()`` and
        ``compiled``.

    Raises:
        TypeError: ``function`` is a module, or can not be called.

    Example:
        >>> layers = (nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32))
        >>> net = fn.functionalize(nn.Sequential(*layers))
        >>> params, state = net.init(jax.random.key(0))
        >>> step = fn.grad(lambda params, x: (net.apply(params, state, x)[0] ** 2).mean())
        >>> profile = fn.profile_memory(step, params, jnp.ones((512, 32)), net=net)
        >>> profile.by_layer("residual")
        {'0': 65536, '1': 65536, '2': 65536, '3': 65536}
    """
    if isinstance(function, Functional):
        net, function = net or function, function.apply
    elif isinstance(function, Module) or not callable(function):
        raise TypeError(
            "profile_memory takes a function such as a training step, or net = fn.functionalize(model), and then its "
            f"arguments; got {type(function).__name__}"
        )
    program, _ = traced_call(function, args, kwargs)
    kinds = {} if net is None else kinds_of(net)
    place = LayerPlace(kinds) if kinds else OpenPlace()
    step, held = timeline(program, _names(function, args, kwargs), place).peak()
    values = sorted((_held(value) for value in held if value.bytes), key=lambda each: -each.bytes)
    at = "which is what it is given"
    if step is not None:
        at = f"at {step.operation.name}" + (f" of {step.layer}" if step.layer else "")
        at += ", in the backward pass" if step.backward else ""
    compiled = _compiled(function, args, kwargs) if compile else None
    return MemoryProfile(tuple(values), at, kinds, compiled)


def _held(value: LiveValue) -> HeldValue:
    shape, dtype = tuple(value.array_type.shape), str(value.array_type.dtype)
    line = "" if value.argument else value.line
    return HeldValue(
        value.bytes, shape, dtype, value.kind, value.layer, value.argument, value.operation, line
    )


def _names(function: Callable[..., Any], args: Any, kwargs: Any) -> list[str]:
    """Name the argument that each array belongs to; of an object with fields also the field."""
    try:
        names = list(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):
        names = []
    positional = [*names[: len(args)], *(f"{at}" for at in range(len(names), len(args)))]
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path((args, kwargs)):
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            continue
        which, *below = path[1:]
        name = positional[which.idx] if path[0].idx == 0 else which.key
        if below and isinstance(below[0], jax.tree_util.GetAttrKey):
            name = f"{name}.{below[0].name}"
        found.append(name)
    return found


def _compiled(function: Any, args: Any, kwargs: Any) -> CompiledMemory | None:
    if hasattr(function, "lower"):
        lowered = function.lower(*args, **kwargs)
    else:
        call, arrays = of_arrays(function, args, kwargs)
        lowered = jax.jit(call).lower(arrays)
    told = lowered.compile().memory_analysis()
    if told is None:
        return None
    return CompiledMemory(
        told.argument_size_in_bytes,
        told.output_size_in_bytes,
        told.temp_size_in_bytes,
        told.alias_size_in_bytes,
    )


def _size(count: int) -> str:
    return readable_bytes(count) if count else ""


def _told(compiled: CompiledMemory) -> str:
    parts = (
        f"{readable_bytes(compiled.arguments)} of arguments, {readable_bytes(compiled.results)} of results"
        f" and {readable_bytes(compiled.temporaries)} of temporaries"
    )
    shared = f", {readable_bytes(compiled.shared)} of them shared" if compiled.shared else ""
    return f"compiled: {readable_bytes(compiled.total)}: {parts}{shared}"
