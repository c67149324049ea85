"""What was written, and how well it agrees."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from funcnet.export.onnx.comparison import Check

__all__ = ["OnnxReport"]


@dataclass(frozen=True)
class OnnxReport:
    """What `onnx` wrote.

    Attributes:
        path: the file.
        weights_path: the file beside it that holds the weights, if they are not in it.
        opset: the version of ONNX's operators.
        operators: how many nodes there are of each operator, most frequent first.
        bytes: of both files.
        weights_bytes: of the model's arrays as they are in Python.
        checks: each comparison with the function, and the largest relative difference found; empty with
            ``verify=False``.
        quantized: dotted names of the weights that are stored in 8 bits.
    """

    path: Path
    weights_path: Path | None
    opset: int
    operators: Mapping[str, int]
    bytes: int
    weights_bytes: int
    checks: tuple[Check, ...]
    quantized: tuple[str, ...] = ()

    @property
    def error(self) -> float | None:
        """The largest relative difference of all comparisons; None if nothing was compared."""
        return max((each.error for each in self.checks), default=None)

    def __str__(self) -> str:
        """Say it in a few lines."""
        kinds = ", ".join(f"{count} {name}" for name, count in self.operators.items())
        lines = [
            f"{self.path}: {self.bytes:,} bytes, opset {self.opset}",
            f"  {sum(self.operators.values())} nodes: {kinds}",
        ]
        if self.weights_path:
            lines.append(f"  weights in {self.weights_path.name}")
        if self.quantized:
            lines.append(
                f"  {len(self.quantized)} weights in 8 bits; in Python {self.weights_bytes:,} bytes"
            )
        for check in self.checks:
            sizes = ", ".join(f"{name} = {size}" for name, size in check.sizes.items())
            lines.append(f"  differs by {check.error:.1e}" + (f" at {sizes}" if sizes else ""))
        return "\n".join(lines)
