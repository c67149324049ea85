"""A model of LiteRT (TensorFlow Lite), for phones and small devices, of the same function."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from funcnet.core.aliases import Params, PyTree, State
from funcnet.core.files import as_path, write_atomically
from funcnet.export.compilers.agreement import CompilerReport, compared
from funcnet.export.compilers.plain_form import plain_form
from funcnet.export.compilers.processes import require_packages, run_task
from funcnet.export.compilers.staging import Staged, stage
from funcnet.export.flat import FlatFunction, flatten_entry, plain_arrays
from funcnet.export.preflight import check_exportable, show_warnings
from funcnet.export.programs.building import resolve_sizes
from funcnet.export.specs import Entry, entries

__all__ = ["litert"]

Weights = Literal["float32", "float16", "int8"]


def litert(
    path: str | os.PathLike[str],
    net: Any,
    params: Params,
    state: State,
    *inputs: PyTree,
    name: str = "call",
    sizes: Sequence[Mapping[str, int]] | None = None,
    weights: Weights = "float32",
    unroll: int = 64,
    preprocess: Callable[..., Any] | None = None,
    returns_state: bool = False,
    examples: Any = None,
    verify: bool = True,
    **keywords: Any,
) -> CompilerReport:
    """Write a ``.tflite`` file, which LiteRT runs on phones and small devices.

    LiteRT's shapes are fixed. Lengths that the specs leave open get numbers by ``sizes``, each a signature of its own
    in the one file, over the same weights: ``call`` for a single size, else ``call_batch_1``, ``call_batch_32``.
    A loop of known length (an LSTM's) is written out, which its interpreter runs two to four times as fast and its
    delegates understand. TensorFlow's converter runs in a process of its own; another one runs the file by LiteRT's
    interpreter and compares it with the function. The file appears whole or not at all.

    Args:
        path: of the file.
        net: a Functional, any ``(params, state, *inputs) -> (output, state)``, or a dict of name to `entry`.
        params: the trained arrays.
        state: the buffers; ``{}`` if there are none.
        *inputs: one `spec` an input, or an example array, or trees of them.
        name: of a single function.
        sizes: numbers of the open lengths; 1 of each without it.
        weights: how large weights are stored: ``"float16"`` halves the file, ``"int8"`` quarters it. Outputs then
            differ, by what the report says.
        unroll: loops of at most so many turns are written out; longer ones stay loops.
        preprocess: as for `entry`.
        returns_state: as for `entry`.
        examples: inputs to compare at, where random numbers do not suit: a tuple of one for each input, or a dict of
            such tuples by function.
        verify: whether to run and compare.
        **keywords: static arguments of the function, such as ``train=True``.

    Returns:
        What was written, and how far it differs.

    Raises:
        ExportError: a function cannot be exported, or differs; nothing is written.
        ImportError: LiteRT or TensorFlow, whose converter it takes, is not installed.
        ValueError: sizes do not fit.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> params, state = net.init(jax.random.key(0))
        >>> make = lambda: fn.export.litert("a.tflite", net, params, state, fn.export.spec((1, 3), name="x"))
        >>> report = make()  # doctest: +SKIP
        >>> report.error < 1e-6  # doctest: +SKIP
        True
    """
    target = as_path(path)
    if weights not in ("float32", "float16", "int8"):
        raise ValueError(f"weights are 'float32', 'float16' or 'int8', got {weights!r}")
    require_packages("export.litert", "litert", ["ai_edge_litert", "tensorflow"])
    described = entries(net, inputs, name, preprocess, returns_state, **keywords)
    params, state = plain_arrays(params), plain_arrays(state)
    given = (examples if isinstance(net, Mapping) else {name: examples}) or {}
    functions: list[Staged] = []
    own: dict[str, Any] = {}  # the examples of each signature
    for each, entry in described.items():
        numbers = _numbers(entry, sizes)
        for number in numbers:
            flat = flatten_entry(entry, params, state, [number])
            show_warnings(each, check_exportable(flat, each, "litert", number))
            functions.append(_staged(each, flat, number, unroll, len(numbers) > 1))
            own[functions[-1].name] = given.get(each)
    _check_functions(functions, sizes)
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder)
        stage(job, functions, weights_as=weights)
        run_task("convert_to_lite", job, "LiteRT's converter")
        made = job / "model.tflite"
        exact = weights == "float32"
        checks = (
            compared("run_lite", made, functions, own, "the LiteRT model", exact) if verify else ()
        )
        write_atomically(target, made.read_bytes())
    return CompilerReport(target, target.stat().st_size, checks)


def _numbers(entry: Entry, sizes: Sequence[Mapping[str, int]] | None) -> list[Mapping[str, int]]:
    """List the sizes of a function's open lengths: one signature for each."""
    if not entry.symbols:
        return [{}]
    asked = sizes if sizes is not None else [dict.fromkeys(entry.symbols, 1)]
    return [
        each for each in resolve_sizes(entry.symbols, asked, symbolic=False) if each is not None
    ]


def _staged(
    name: str, flat: FlatFunction, sizes: Mapping[str, int], unroll: int, several: bool
) -> Staged:
    told = "".join(f"_{symbol}_{size}" for symbol, size in sizes.items())
    return Staged(
        name + (told if several else ""), flat, sizes, plain_form(flat.trace(sizes), unroll)
    )


def _check_functions(
    functions: Sequence[Staged], sizes: Sequence[Mapping[str, int]] | None
) -> None:
    """Refuse sizes that nothing has, and two signatures of one name, as of a size that is said twice."""
    if not functions:
        raise ValueError("sizes is empty, so that there is nothing to write: sizes=[{'batch': 1}]")
    if sizes and not any(each.sizes for each in functions):
        raise ValueError("sizes are given, but no input has an open length such as 'batch'")
    names = [each.name for each in functions]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two signatures are called {', '.join(twice)}: say each size once")
