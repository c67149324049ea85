"""summary: the tree of a model with output shapes, parameters and bytes, without running it."""

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.paths import flatten
from funcnet.core.shardings import bytes_per_device
from funcnet.module.description import layout_of
from funcnet.module.functionalize import Functional, functionalize
from funcnet.module.initial_values.lazy_shapes import abstract_call
from funcnet.module.module import Module
from funcnet.module.precision.told import Dtypes, stored_in
from funcnet.module.sharding.placement import Placement
from funcnet.module.specs import is_buffer

__all__ = ["Summary", "SummaryRow", "summary"]


@dataclass(frozen=True)
class SummaryRow:
    """One module of a summary.

    Attributes:
        path: dotted; the model itself has ``""``.
        kind: the name of its class.
        output: the shape and dtype of what its first call returns; ``""`` if it is never called.
        parameters: how many trained numbers it holds itself, not counting its parts.
        buffers: how many remembered numbers it holds itself.
        bytes: of both.
        depth: how many modules it lies within.
        device_bytes: what one device holds of them; None for a model that lies on no mesh.
        parts: the shapes on one device of its arrays that are spread, such as ``"weight (64, 16)"``.
        stored_in: the dtypes of its arrays, most first.
        computes_in: of a model in mixed precision, the dtype that the layer computes in, and ``", given float32"`` or
            ``", returns float32"`` where the code of a layer of 16 bits, or that around it, widened.
    """

    path: str
    kind: str
    output: str
    parameters: int
    buffers: int
    bytes: int
    depth: int
    device_bytes: int | None = None
    parts: str = ""
    stored_in: str = ""
    computes_in: str = ""


@dataclass(frozen=True)
class Summary:
    """A table of a model: text when printed, HTML in a notebook."""

    rows: tuple[SummaryRow, ...]

    @property
    def parameters(self) -> int:
        """The number of trained numbers of the whole model."""
        return sum(row.parameters for row in self.rows)

    @property
    def buffers(self) -> int:
        """The number of remembered numbers of the whole model."""
        return sum(row.buffers for row in self.rows)

    @property
    def bytes(self) -> int:
        """The bytes of parameters and buffers."""
        return sum(row.bytes for row in self.rows)

    @property
    def device_bytes(self) -> int | None:
        """What one device holds of them; None for a model that lies on no mesh."""
        known = [row.device_bytes for row in self.rows if row.device_bytes is not None]
        return sum(known) if known else None

    @property
    def _heads(self) -> tuple[str, ...]:
        own = ("layer", "output", "parameters", "bytes")
        device = () if self.device_bytes is None else ("on a device", "parts")
        stored = ("stored in",) if self._tells_dtypes else ()
        return (*own, *device, *stored, *(("computes in",) if self._is_mixed else ()))

    @property
    def _is_mixed(self) -> bool:
        return any(row.computes_in for row in self.rows)

    @property
    def _tells_dtypes(self) -> bool:
        """Whether dtypes are worth a column: in a model in float32 all are the same."""
        usual = {"", "float32", "int32", "float32 and int32"}
        return self._is_mixed or any(row.stored_in not in usual for row in self.rows)

    def _cells(self) -> Iterable[tuple[str, ...]]:
        for row in self.rows:
            name = f"{row.path} ({row.kind})" if row.path else row.kind
            count = f"{row.parameters:,}" if row.parameters else ""
            sizes = [_size(size) if size else "" for size in (row.bytes, row.device_bytes)]
            known = {
                "layer": "  " * row.depth + name,
                "output": row.output,
                "parameters": count,
                "bytes": sizes[0],
                "on a device": sizes[1],
                "parts": row.parts,
                "stored in": row.stored_in,
                "computes in": row.computes_in,
            }
            yield tuple(known[head] for head in self._heads)

    @property
    def _total(self) -> str:
        buffers = f" + {self.buffers:,} in buffers" if self.buffers else ""
        device = self.device_bytes
        part = "" if device is None else f", {_size(device)} on a device"
        return f"{self.parameters:,} parameters{buffers}, {_size(self.bytes)}{part}"

    def __str__(self) -> str:
        """Lay the table out as text."""
        table = [self._heads, *self._cells()]
        widths = [max(len(row[i]) for row in table) for i in range(len(self._heads))]
        aligned = [">" if head in _NUMBERS else "<" for head in self._heads]
        lines = [
            "  ".join(
                f"{cell:{side}{width}}"
                for cell, side, width in zip(row, aligned, widths, strict=False)
            ).rstrip()
            for row in table
        ]
        rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
        return "\n".join([lines[0], rule, *lines[1:], rule, self._total])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in self._heads)
        body = "".join(
            "<tr>"
            f"<td style='text-align:left;padding-left:{row.depth * 1.5}em'>{html.escape(cells[0].strip())}</td>"
            f"<td style='text-align:left'>{html.escape(cells[1])}</td>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells[2:])
            + "</tr>"
            for row, cells in zip(self.rows, self._cells(), strict=True)
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{self._total}</p>"


_NUMBERS = ("parameters", "bytes", "on a device")


def summary(
    module: Module | Functional, *input_specs: Any, train: bool = False, **kwargs: Any
) -> Summary:
    """Summarise a module: its tree with paths, output shapes, parameters and bytes.

    The model is called on abstract arrays: nothing is computed and no memory is used.

    Args:
        module: a description, or what `functionalize` made of it; of what `parallel.shard` returned also the bytes
            that one device holds, and the shapes there of arrays that are spread.
        *input_specs: the inputs of the call: arrays, ``jax.ShapeDtypeStruct``, or tuples of sizes, which stand
            for float32 arrays. Without any, output shapes are left out.
        train: the mode to call it in.
        **kwargs: keyword arguments of the call, likewise.

    Example:
        >>> print(fn.summary(nn.Sequential(nn.Linear(784, 10), nn.ReLU()), (32, 784)))
        layer         output           parameters     bytes
        ───────────────────────────────────────────────────
        Sequential    float32[32, 10]
          0 (Linear)  float32[32, 10]       7,850  30.7 KiB
          1 (ReLU)    float32[32, 10]
        ───────────────────────────────────────────────────
        7,850 parameters, 30.7 KiB
    """
    net = module if isinstance(module, Functional) else functionalize(module)
    module, placement = net.module, net.placement
    layout = layout_of(module)
    inputs = [_abstract(spec) for spec in input_specs]
    keywords = {name: _abstract(spec) for name, spec in kwargs.items()}
    outputs: dict[str, str] = {}
    dtypes = Dtypes(net.observable.precision, layout)
    key = jax.random.key(0)
    params, state = abstract_call(net.init, (key, *inputs), keywords)
    if inputs or keywords:

        def observe(path: str, module: Module, output: Any) -> Any:
            outputs.setdefault(path, _shapes(output))
            dtypes.note(path, module, output)
            return output

        def run(params: Any, state: Any, key: Any, *inputs: Any, **keywords: Any) -> Any:
            return net.observable.apply_observed(
                observe, params, state, *inputs, key=key, train=train, **keywords
            )[0]

        returned = abstract_call(run, (params, state, key, *inputs), keywords)
        if "" in outputs:  # what a model in mixed precision returns is widened last
            outputs[""] = _shapes(returned)
    arrays = flatten(params) | flatten(state)
    rows = []
    for path, part in layout.modules.items():
        own = {name: spec for name, spec in layout.specs.items() if layout.owner(name) == path}
        sizes = {name: math.prod(arrays[name].shape) for name in own}
        device_bytes, parts = _on_a_device(placement, {name: arrays[name] for name in own})
        rows.append(
            SummaryRow(
                path,
                type(part).__name__,
                outputs.get(path, ""),
                sum(size for name, size in sizes.items() if not is_buffer(own[name])),
                sum(size for name, size in sizes.items() if is_buffer(own[name])),
                sum(size * arrays[name].dtype.itemsize for name, size in sizes.items()),
                sum(
                    path != above and (not above or path.startswith(above + "."))
                    for above in layout.modules
                ),
                device_bytes,
                parts,
                stored_in([arrays[name] for name in own]),
                dtypes.told(path),
            )
        )
    return Summary(tuple(rows))


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


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
