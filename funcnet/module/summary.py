"""summary: the tree of a model with output shapes, parameters and bytes, without running it."""

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.paths import flatten
from funcnet.module.description import layout_of
from funcnet.module.functionalize import functionalize
from funcnet.module.initial_values.lazy_shapes import abstract_call
from funcnet.module.module import Module
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
    """

    path: str
    kind: str
    output: str
    parameters: int
    buffers: int
    bytes: int
    depth: int


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

    def _cells(self) -> Iterable[tuple[str, str, str, str]]:
        for row in self.rows:
            name = f"{row.path} ({row.kind})" if row.path else row.kind
            count = f"{row.parameters:,}" if row.parameters else ""
            yield "  " * row.depth + name, row.output, count, _size(row.bytes) if row.bytes else ""

    @property
    def _total(self) -> str:
        buffers = f" + {self.buffers:,} in buffers" if self.buffers else ""
        return f"{self.parameters:,} parameters{buffers}, {_size(self.bytes)}"

    def __str__(self) -> str:
        """Lay the table out as text."""
        table = [("layer", "output", "parameters", "bytes"), *self._cells()]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip()
            for a, b, c, d in table
        ]
        rule = "─" * (sum(widths) + 6)
        return "\n".join([lines[0], rule, *lines[1:], rule, self._total])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in ("layer", "output", "parameters", "bytes"))
        body = "".join(
            "<tr>"
            f"<td style='text-align:left;padding-left:{row.depth * 1.5}em'>{html.escape(cells[0].strip())}</td>"
            f"<td style='text-align:left'>{html.escape(cells[1])}</td><td>{cells[2]}</td><td>{cells[3]}</td></tr>"
            for row, cells in zip(self.rows, self._cells(), strict=True)
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{self._total}</p>"


def summary(module: Module, *input_specs: Any, train: bool = False, **kwargs: Any) -> Summary:
    """Summarise a module: its tree with paths, output shapes, parameters and bytes.

    The model is called on abstract arrays: nothing is computed and no memory is used.

    Args:
        module: a description.
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
    net = functionalize(module)
    layout = layout_of(module)
    inputs = [_abstract(spec) for spec in input_specs]
    keywords = {name: _abstract(spec) for name, spec in kwargs.items()}
    outputs: dict[str, str] = {}
    key = jax.random.key(0)
    params, state = abstract_call(net.init, (key, *inputs), keywords)
    if inputs or keywords:

        def observe(path: str, module: Module, output: Any) -> Any:
            outputs.setdefault(path, _shapes(output))
            return output

        def run(params: Any, state: Any, key: Any, *inputs: Any, **keywords: Any) -> Any:
            return net.observable.apply_observed(
                observe, params, state, *inputs, key=key, train=train, **keywords
            )[0]

        abstract_call(run, (params, state, key, *inputs), keywords)
    arrays = flatten(params) | flatten(state)
    rows = []
    for path, part in layout.modules.items():
        own = {name: spec for name, spec in layout.specs.items() if layout.owner(name) == path}
        sizes = {name: math.prod(arrays[name].shape) for name in own}
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
            )
        )
    return Summary(tuple(rows))


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
