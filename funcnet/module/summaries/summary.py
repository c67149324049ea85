"""summary: the tree of a model with output shapes, parameters, operations and bytes, without running it."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.paths import flatten
from funcnet.core.shardings import bytes_per_device
from funcnet.module.description import layout_of
from funcnet.module.functionalize import Functional, functionalize
from funcnet.module.initial_values.lazy_shapes import abstract_call, traced_call
from funcnet.module.layout import Layout
from funcnet.module.module import Module
from funcnet.module.precision.told import Dtypes, stored_in
from funcnet.module.sharding.placement import Placement
from funcnet.module.specs import is_buffer
from funcnet.module.summaries.counting import Counts, Marks, count_program
from funcnet.module.summaries.table import Summary, SummaryRow

__all__ = ["summary"]


def summary(
    module: Module | Functional, *input_specs: Any, train: bool = False, **kwargs: Any
) -> Summary:
    """Summarise a module: its tree with paths, output shapes, parameters, bytes, and what a forward pass does.

    The model is called on abstract arrays: nothing is computed and no memory is used.

    *Operations* are those on floating-point numbers: a multiply and an add are two, so that a matrix product of
    ``(M, K)`` and ``(K, N)`` is ``2 M K N``; in a convolution every output meets every weight of its window, also on
    padding, and in a transposed one every input every weight. A division, a maximum, a root or an ``exp`` is one.
    What moves, compares or converts numbers, and what is done to integers, is none: an embedding does nothing. A loop
    (`nn.Repeat`, a recurrent layer) counts as often as it turns. Each row has its own operations, without those of its
    parts; they are those of the traced program, before the compiler joins or drops some.

    *Activations* are the bytes of what each layer returns, in all its calls. An array that a part of it has returned
    already counts once, there; what a layer makes and keeps to itself does not count.

    Args:
        module: a description, or what `functionalize` made of it; of what `parallel.shard` returned also the bytes
            that one device holds, and the shapes there of arrays that are spread.
        *input_specs: the inputs of the call: arrays, ``jax.ShapeDtypeStruct``, or tuples of sizes, which stand
            for float32 arrays. Without any, output shapes, operations and activations are left out.
        train: the mode to call it in.
        **kwargs: keyword arguments of the call, likewise.

    Example:
        >>> print(fn.summary(nn.Sequential(nn.Linear(784, 10), nn.ReLU()), (32, 784)))
        layer         output           parameters     bytes  operations  activations
        ────────────────────────────────────────────────────────────────────────────
        Sequential    float32[32, 10]
          0 (Linear)  float32[32, 10]       7,850  30.7 KiB       502 k      1.2 KiB
          1 (ReLU)    float32[32, 10]                                        1.2 KiB
        ────────────────────────────────────────────────────────────────────────────
        7,850 parameters, 30.7 KiB
        forward: 502 k operations, 2.5 KiB of activations
    """
    net = module if isinstance(module, Functional) else functionalize(module)
    layout = layout_of(net.module)
    inputs = [_abstract(spec) for spec in input_specs]
    keywords = {name: _abstract(spec) for name, spec in kwargs.items()}
    key = jax.random.key(0)
    params, state = abstract_call(net.init, (key, *inputs), keywords)
    call = _Call(net, layout)
    if inputs or keywords:
        call.trace((params, state, key, *inputs), {**keywords, "train": train})
    arrays = flatten(params) | flatten(state)
    rows = tuple(_row(path, call, net, arrays) for path in layout.modules)
    unknown, loops = sorted(call.counts.unknown), call.counts.open_loops
    return Summary(rows, tuple(unknown), loops)


class _Call:
    """What a call of a model shows of its layers.

    Attributes:
        traced: whether there was one.
        outputs: shapes of what layers return, by path.
        dtypes: of a model in mixed precision.
        counts: operations and bytes.
    """

    def __init__(self, net: Functional, layout: Layout) -> None:
        self.net = net
        self.layout = layout
        self.traced = False
        self.outputs: dict[str, str] = {}
        self.dtypes = Dtypes(net.observable.precision, layout)
        self.counts = Counts()

    def trace(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Trace the call."""
        marks = Marks()

        def observe(path: str, module: Module, output: Any) -> Any:
            self.outputs.setdefault(path, _shapes(output))
            self.dtypes.note(path, module, output)
            return marks.mark(path, output)

        def run(params: Any, state: Any, key: Any, *inputs: Any, **keywords: Any) -> Any:
            return self.net.observable.apply_observed(
                observe, params, state, *inputs, key=key, **keywords
            )[0]

        program, returned = traced_call(run, args, keywords)
        if "" in self.outputs:  # what a model in mixed precision returns is widened last
            self.outputs[""] = _shapes(returned)
        kinds = {path: type(part).__name__ for path, part in self.layout.modules.items()}
        self.counts = count_program(program, kinds, marks)
        self.traced = True

    def operations(self, path: str) -> int | None:
        """Return how many operations a layer does itself."""
        return self.counts.operations[path] if self.traced else None

    def bytes(self, path: str) -> int | None:
        """Return the bytes of what a layer makes and returns."""
        if not self.traced:
            return None
        below = any(
            other.startswith(f"{path}." if path else "")
            for other in self.layout.modules
            if other != path
        )
        # what only calls its parts, as a loop over a block does, returns what they have made
        return 0 if below and not self.counts.operations[path] else self.counts.bytes[path]


def _row(path: str, call: _Call, net: Functional, arrays: dict[str, Any]) -> SummaryRow:
    layout = call.layout
    own = {name: spec for name, spec in layout.specs.items() if layout.owner(name) == path}
    sizes = {name: math.prod(arrays[name].shape) for name in own}
    held = {name: arrays[name] for name in own}
    device_bytes, parts = _on_a_device(net.placement, held)
    return SummaryRow(
        path,
        type(layout.modules[path]).__name__,
        call.outputs.get(path, ""),
        sum(size for name, size in sizes.items() if not is_buffer(own[name])),
        sum(size for name, size in sizes.items() if is_buffer(own[name])),
        sum(size * arrays[name].dtype.itemsize for name, size in sizes.items()),
        sum(
            path != above and (not above or path.startswith(above + "."))
            for above in layout.modules
        ),
        device_bytes,
        parts,
        stored_in(list(held.values())),
        call.dtypes.told(path),
        call.operations(path),
        call.bytes(path),
    )


def _on_a_device(placement: Placement | None, arrays: dict[str, Any]) -> tuple[int | None, str]:
    """Return the bytes of arrays that one device holds, and the shapes of those that are spread."""
    if placement is None:
        return None, ""
    size, parts = 0, []
    for path, array in arrays.items():
        sharding = placement.sharding(path)
        size += bytes_per_device(array.shape, array.dtype, sharding)
        if (part := sharding.shard_shape(array.shape)) != array.shape:
            parts.append(f"{path.rpartition('.')[2]} {part}")
    return size, ", ".join(parts)


def _abstract(spec: Any) -> Any:
    if isinstance(spec, tuple) and spec and all(isinstance(size, int) for size in spec):
        return jax.ShapeDtypeStruct(spec, jnp.float32)
    return spec


def _shapes(output: Any) -> str:
    def one(leaf: Any) -> str:
        if not hasattr(leaf, "shape"):
            return type(leaf).__name__
        return f"{leaf.dtype.name}[{', '.join(map(str, leaf.shape))}]"

    leaves = jax.tree.leaves(output)
    shown = ", ".join(map(one, leaves[:3])) + (", …" if len(leaves) > 3 else "")
    return shown if len(leaves) <= 1 else f"({shown})"
