"""The way from a model to a file of ONNX that was compared with it."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from funcnet.core.aliases import Params, PyTree, State
from funcnet.core.errors import ExportError
from funcnet.core.files import as_path, check_replaceable, sync_folder
from funcnet.export.flat import FlatFunction
from funcnet.export.onnx.comparison import Check, Comparison
from funcnet.export.onnx.eight_bits import in_eight_bits
from funcnet.export.onnx.finishing import count_operators, name_outputs, prune
from funcnet.export.onnx.graph import Graph, Value, carried
from funcnet.export.onnx.model_file import (
    IR_VERSIONS,
    check_installed,
    onnx_package,
    write_model,
)
from funcnet.export.onnx.report import OnnxReport
from funcnet.export.onnx.translation import OperationRule, Translator
from funcnet.export.preflight import check_exportable, flatten_open, show_warnings
from funcnet.export.specs import Entry, entries

__all__ = ["onnx"]


def onnx(
    path: str | os.PathLike[str],
    net: Any,
    params: Params,
    state: State,
    *inputs: PyTree,
    opset: int = 20,
    weights: Literal["float32", "int8"] = "float32",
    external: bool | None = None,
    verify: bool = True,
    examples: Sequence[Sequence[Any]] | None = None,
    tolerance: float | None = None,
    rules: Mapping[str, OperationRule] | None = None,
    preprocess: Callable[..., Any] | None = None,
    returns_state: bool = False,
    **keywords: Any,
) -> OnnxReport:
    """Write a function of a model as a file of ONNX, and run that file beside the function before it is kept.

    Weights are in it under their dotted names, nodes under their modules' paths. Open lengths of inputs stay open.
    Loops and choices become ONNX's own. The file is run by ONNX Runtime in a process of its own, with the first
    open length 1, 2 and 3; its outputs must be the function's within 1e-5 of the largest number (1e-2 in 16 bits),
    NaN and infinities at the same places, whole numbers equal.

    Weights in few bits (`compression.quantize`) are stored as they are, each read by a DequantizeLinear: in 8 bits; in
    4 from opset 21 on, before in a byte each. The comparison multiplies by them in float32, as the model does; ONNX
    Runtime's default is quicker, and rounds what comes in to 8 bits as well, unless a session is told
    ``options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")``.

    Between QuantizeLinear and DequantizeLinear (`compression.convert`) the comparison rounds where the file says so; by
    default ONNX Runtime makes one product of integers of both, and rounds biases as well, which a session leaves with
    ``"session.disable_quant_qdq", "1"``. A number on the edge of two steps may go either way: then outputs may differ
    as far as the function's own move when its inputs and weights move by 1e-5.

    Args:
        path: of the file, ``"model.onnx"``.
        net: a Functional, any ``(params, state, *inputs) -> (output, state)``, or an `entry`.
        params: of the model.
        state: of the model; it is stored like the params.
        *inputs: a `spec`, or an array as an example, for each input; or trees of them.
        opset: the version of ONNX's operators: 20 to 23.
        weights: ``"int8"`` stores matrices, kernels and tables of embeddings in 8 bits, with a scale for each output
            channel: a quarter of the size. What that changes is in the report, and is no reason to refuse.
        external: whether the weights lie in a second file beside the model; None for: if they are over 2 GB.
        verify: run and compare. Without it a wrong file would be written in silence.
        examples: sets of real inputs to compare on, instead of random ones: ``[(x,), (y,)]``.
        tolerance: the largest difference allowed, relative to the largest number of an output.
        rules: for operations that funcnet does not know: docs/guides/export_onnx.md.
        preprocess: a pure function that is applied to the inputs first; it becomes part of the file.
        returns_state: whether the new state is an output as well.
        **keywords: static arguments of the function, such as ``train=False``.

    Returns:
        What was written and how well it agrees; print it.

    Raises:
        ExportError: an operation has no form in ONNX, or the file does not compute what the function computes.
            Nothing was written then.
        ModuleNotFoundError: the packages of ``funcnet[onnx]`` are not installed.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> params, state = net.init(jax.random.key(0))
        >>> make = lambda: fn.export.onnx("linear.onnx", net, params, state, fn.export.spec(("batch", 3)))
        >>> report = make()  # doctest: +SKIP
        >>> report.error < 1e-5  # doctest: +SKIP
        True

    Reference:
        https://onnx.ai/onnx/operators/
    """
    target = as_path(path)
    check_replaceable(target)
    check_installed("onnx", *(["onnxruntime"] if verify else []))
    if opset not in IR_VERSIONS:
        raise ValueError(f"opset is one of {', '.join(map(str, IR_VERSIONS))}, got {opset!r}")
    if weights not in ("float32", "int8"):
        raise ValueError(f'weights is "float32" or "int8", got {weights!r}')
    asked = _lone(net, inputs, preprocess=preprocess, returns_state=returns_state, **keywords)
    flat = flatten_open(asked, params, state)
    show_warnings(target.name, check_exportable(flat, target.name, "onnx", known=rules or ()))
    graph = build_graph(flat, known_rules() | dict(rules or {}), opset)
    comparison = Comparison(flat, examples) if verify else None
    job = _Job(target, opset, external, comparison)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        paths, checks = job.written(graph, Path(folder) / "float32", tolerance)
        size = sum(each.stat().st_size for each in paths)
        quantized, rounded = (), []
        if weights == "int8":
            graph, quantized = in_eight_bits(graph, set(flat.weights))
            paths, rounded = job.written(graph, Path(folder) / "int8", float("inf"))
        _keep(paths, target)
    return job.report(graph, paths[1:], size, checks, quantized, rounded)


_ROUNDING = frozenset({"QuantizeLinear", "Round"})
"""Operators in which the last digit of a float may decide between two whole numbers."""


@dataclass(frozen=True)
class _Job:
    """What stays the same while files are tried."""

    target: Path
    opset: int
    external: bool | None
    comparison: Comparison | None

    def written(
        self, graph: Graph, folder: Path, tolerance: float | None
    ) -> tuple[list[Path], list[Check]]:
        """Write a graph into a folder, have it checked, and compare it."""
        folder.mkdir()
        paths = write_model(
            graph, folder, self.target.name, opset=self.opset, external=self.external
        )
        _check(paths[0])
        if self.comparison is None:
            return paths, []
        rounds = not _ROUNDING.isdisjoint(count_operators(graph))
        return paths, self.comparison.check(paths[0], tolerance, rounds=rounds)

    def report(
        self,
        graph: Graph,
        beside: Sequence[Path],
        float_bytes: int,
        checks: Sequence[Check],
        quantized: tuple[str, ...],
        rounded: Sequence[Check],
    ) -> OnnxReport:
        """Say what was kept."""
        data = self.target.with_name(beside[0].name) if beside else None
        return OnnxReport(
            path=self.target,
            weights_path=data,
            opset=self.opset,
            operators=count_operators(graph),
            bytes=self.target.stat().st_size + (data.stat().st_size if data else 0),
            float_bytes=float_bytes,
            checks=tuple(checks),
            quantized=quantized,
            quantized_checks=tuple(rounded),
            refused=tuple(self.comparison.refused if self.comparison else ()),
        )


def _lone(net: Any, inputs: Sequence[PyTree], **keywords: Any) -> Entry:
    """Read the arguments of the one function that a file holds."""
    given = {k: v for k, v in keywords.items() if v is not None and v is not False}
    if isinstance(net, Mapping):
        found = entries(net, inputs, **given)
    else:
        found = entries(net, inputs, **keywords)
    if len(found) != 1:
        raise ExportError(
            f"a file of ONNX holds one function, got {', '.join(found)}: write one file for each"
        )
    return next(iter(found.values()))


def known_rules() -> dict[str, OperationRule]:
    """List funcnet's own rules by the kinds of their operations."""
    from funcnet.export.operators import RULES

    return dict(RULES)


def build_graph(flat: FlatFunction, rules: Mapping[str, OperationRule], opset: int = 20) -> Graph:
    """Translate a function into a graph with its weights and names, and nothing that no output needs."""
    from funcnet.export.fusions import MARKS, fuse

    graph = Graph()
    graph.shared.opset = opset
    clash = sorted({str(each.name) for each in flat.inputs} & flat.weights.keys())
    if clash:
        raise ValueError(
            f"an input and a weight are both called {', '.join(clash)}: give the input's spec another name"
        )
    for each in flat.outputs:
        graph.shared.unique(str(each.name))
    weights = [graph.weight(name, array) for name, array in flat.weights.items()]
    program = flat.trace()
    inputs = _inputs(graph, flat, program.arguments[len(weights) :])
    results = Translator(rules, MARKS).run(graph, program, [*weights, *inputs])
    fuse(graph, [each.name for each in results])
    name_outputs(graph, results, [str(each.name) for each in flat.outputs])
    prune(graph)
    return graph


def _inputs(graph: Graph, flat: FlatFunction, types: Sequence[Any]) -> list[Value]:
    """Add the inputs; learn from them what open lengths are."""
    made = [
        graph.input(str(each.name), type_.shape, each.dtype)
        for each, type_ in zip(flat.inputs, types, strict=True)
    ]
    for value in made:
        for axis, length in enumerate(value.shape or ()):
            graph.lengths.learn(length, value, axis)
    return [_taken(graph, *each) for each in zip(made, types, strict=True)]


def _taken(graph: Graph, value: Value, type_: Any) -> Value:
    """Take an input as the program does: floats of 16 bits as float32, without 64 bits int64 as int32."""
    wide = carried(type_.dtype)
    if wide == value.dtype:
        return value
    made = graph.node("Cast", [value], shape=value.shape, dtype=wide)
    return Value(made.name, value.shape, type_.dtype)


def _check(path: Path) -> None:
    """Have ONNX's own checker look at a file: its types and shapes."""
    try:
        onnx_package().checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise ExportError(f"ONNX's checker refuses the file: {error}") from error


def _keep(paths: Sequence[Path], target: Path) -> None:
    """Move the files to their place: weights first, the model last, then remove weights of an older one."""
    for made in reversed(paths):
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.chmod(0o644)
        made.replace(target.with_name(made.name))
    kept = {path.name for path in paths}
    for old in target.parent.glob(f"{target.name}.*.data"):
        if old.name not in kept:
            old.unlink()
    sync_folder(target.parent)
