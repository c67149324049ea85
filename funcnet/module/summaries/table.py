"""The table of a model: text when printed, HTML in a notebook."""

import html
from collections.abc import Iterable
from dataclasses import dataclass

from funcnet.core.files import readable_bytes
from funcnet.module.summaries.text_table import readable_count, text_table

__all__ = ["Summary", "SummaryRow"]


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
        operations: how many operations on floats it does itself in a call, not counting its parts; see `summary`.
        activation_bytes: of the arrays that it returns, unless a part of it returned them already.

    Example:
        >>> row = fn.summary(nn.Sequential(nn.Linear(784, 10), nn.ReLU()), (32, 784)).rows[1]
        >>> row.path, row.kind, row.output, row.parameters, row.bytes
        ('0', 'Linear', 'float32[32, 10]', 7850, 31400)
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
    operations: int | None = None
    activation_bytes: int | None = None


@dataclass(frozen=True)
class Summary:
    """A table of a model: text when printed, HTML in a notebook.

    Attributes:
        rows: one for each module, in the order of the tree.
        unknown: names of JAX's operations that could not be counted.
        open_loops: how many loops run until a test fails: one turn of each was counted.

    Example:
        >>> summary = fn.summary(nn.Sequential(nn.Linear(784, 10), nn.ReLU()), (32, 784))
        >>> [row.path for row in summary.rows], sum(row.parameters for row in summary.rows)
        (['', '0', '1'], 7850)
    """

    rows: tuple[SummaryRow, ...]
    unknown: tuple[str, ...] = ()
    open_loops: int = 0

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
    def operations(self) -> int | None:
        """The operations on floats of a forward pass; None where no inputs were given."""
        return _sum(row.operations for row in self.rows)

    @property
    def activation_bytes(self) -> int | None:
        """The bytes of what layers return in a forward pass; None where no inputs were given."""
        return _sum(row.activation_bytes for row in self.rows)

    @property
    def device_bytes(self) -> int | None:
        """What one device holds of them; None for a model that lies on no mesh."""
        return _sum(row.device_bytes for row in self.rows)

    @property
    def _heads(self) -> tuple[str, ...]:
        own = ("layer", "output", "parameters", "bytes")
        calls = () if self.operations is None else ("operations", "activations")
        device = () if self.device_bytes is None else ("on a device", "parts")
        stored = ("stored in",) if self._tells_dtypes else ()
        return (*own, *device, *calls, *stored, *(("computes in",) if self._is_mixed else ()))

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
            sizes = (row.bytes, row.device_bytes, row.activation_bytes)
            sizes = [readable_bytes(size) if size else "" for size in sizes]
            known = {
                "layer": "  " * row.depth + name,
                "output": row.output,
                "parameters": count,
                "bytes": sizes[0],
                "on a device": sizes[1],
                "parts": row.parts,
                "operations": readable_count(row.operations) if row.operations else "",
                "activations": sizes[2],
                "stored in": row.stored_in,
                "computes in": row.computes_in,
            }
            yield tuple(known[head] for head in self._heads)

    @property
    def _total(self) -> str:
        buffers = f" + {self.buffers:,} in buffers" if self.buffers else ""
        device = self.device_bytes
        part = "" if device is None else f", {readable_bytes(device)} on a device"
        held = f"{self.parameters:,} parameters{buffers}, {readable_bytes(self.bytes)}{part}"
        return "\n".join(text for text in (held, self._forward) if text)

    @property
    def _forward(self) -> str:
        """What a call does, and what of it could not be counted."""
        if self.operations is None:
            return ""
        told = [f"forward: {readable_count(self.operations)} operations"]
        told += [f"{readable_bytes(self.activation_bytes or 0)} of activations"]
        told += [f"one turn of each of {self.open_loops} loops"] if self.open_loops else []
        told += [f"without {', '.join(self.unknown)}"] if self.unknown else []
        return ", ".join(told)

    def __str__(self) -> str:
        """Lay the table out as text."""
        return f"{text_table(self._heads, self._cells(), _NUMBERS)}\n{self._total}"

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
        total = html.escape(self._total).replace("\n", "<br>")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{total}</p>"


_NUMBERS = ("parameters", "bytes", "on a device", "operations", "activations")


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
