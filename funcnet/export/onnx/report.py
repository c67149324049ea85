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
        float_bytes: of the files as they were before weights were rounded to 8 bits, if they were.
        checks: each comparison with the function, and the largest relative difference found; empty with
            ``verify=False``. With weights in 8 bits, of the file before that.
        quantized: dotted names of the weights that are stored in 8 bits.
        quantized_checks: the same comparisons of the file with weights in 8 bits.
        refused: sizes of inputs on which nothing could be compared, because the function itself does not take them.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> params, state = net.init(jax.random.key(0))
        >>> report = fn.export.onnx("linear.onnx", net, params, state, fn.export.spec(("batch", 3)))  # doctest: +SKIP
        >>> report.operators  # doctest: +SKIP
        {'Gemm': 1}
    """

    path: Path
    weights_path: Path | None
    opset: int
    operators: Mapping[str, int]
    bytes: int
    float_bytes: int
    checks: tuple[Check, ...]
    quantized: tuple[str, ...] = ()
    quantized_checks: tuple[Check, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def error(self) -> float | None:
        """The largest relative difference of all comparisons; None if nothing was compared."""
        return max((each.error for each in self.checks), default=None)

    @property
    def quantized_error(self) -> float | None:
        """The largest relative difference that weights in 8 bits make; None without them."""
        return max((each.error for each in self.quantized_checks), default=None)

    def __str__(self) -> str:
        """Say it in a few lines."""
        kinds = ", ".join(f"{count} {name}" for name, count in self.operators.items())
        lines = [
            f"{self.path}: {self.bytes:,} bytes, opset {self.opset}",
            f"  {sum(self.operators.values())} nodes: {kinds}",
        ]
        if self.weights_path:
            lines.append(f"  weights in {self.weights_path.name}")
        lines += [f"  differs by {_spelled(check)}" for check in self.checks]
        if self.quantized:
            lines.append(
                f"  {len(self.quantized)} weights in 8 bits; without that {self.float_bytes:,} bytes"
            )
        lines += [f"  in 8 bits it differs by {_spelled(check)}" for check in self.quantized_checks]
        lines += [f"  not compared {reason}" for reason in self.refused]
        return "\n".join(lines)


def _spelled(check: Check) -> str:
    sizes = ", ".join(f"{name} = {size}" for name, size in check.sizes.items())
    return f"{check.error:.1e}" + (f" at {sizes}" if sizes else "")
