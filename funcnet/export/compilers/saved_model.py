"""A SavedModel of TensorFlow, of the same StableHLO as the artifact."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from funcnet.core.aliases import Params, PyTree, State
from funcnet.core.files import as_path, sync_folder
from funcnet.export.compilers.agreement import CompilerReport, compared
from funcnet.export.compilers.processes import require_packages, run_task
from funcnet.export.compilers.staging import Staged, stage
from funcnet.export.flat import plain_arrays
from funcnet.export.preflight import check_exportable, flatten_open, show_warnings
from funcnet.export.specs import entries

__all__ = ["tensorflow"]


def tensorflow(
    directory: str | os.PathLike[str],
    net: Any,
    params: Params,
    state: State,
    *inputs: PyTree,
    name: str = "call",
    differentiable: bool = False,
    preprocess: Callable[..., Any] | None = None,
    returns_state: bool = False,
    examples: Any = None,
    verify: bool = True,
    **keywords: Any,
) -> CompilerReport:
    """Write a SavedModel, which TensorFlow, TensorFlow Serving and their tools load.

    Every function becomes a signature of its name; the first is ``serving_default`` too. A length that is left open
    is None there. Weights are variables under their dotted names: ``loaded.weights["0.weight"]``; what is assigned
    to one is what the signatures compute with. TensorFlow runs in a process of its own, which also loads what was
    written and compares it with the function, at sizes 1, 2, 3 and 32. The folder appears whole or not at all.

    Args:
        directory: that is made; one that is there is replaced, if it holds a SavedModel.
        net: a Functional, any ``(params, state, *inputs) -> (output, state)``, or a dict of name to `entry`.
        params: the trained arrays.
        state: the buffers; ``{}`` if there are none.
        *inputs: one `spec` an input, or an example array, or trees of them.
        name: of a single function.
        differentiable: whether TensorFlow can train on: first derivatives are exported with the function. (TensorFlow
            does not save derivatives of derivatives, so that tapes must be neither nested nor persistent.)
        preprocess: as for `entry`.
        returns_state: as for `entry`.
        examples: inputs to compare at, where random numbers do not suit: a tuple of one for each input, or a dict of
            such tuples by function.
        verify: whether to load and compare.
        **keywords: static arguments of the function, such as ``train=True``.

    Returns:
        What was written, and how far it differs.

    Raises:
        ExportError: a function cannot be exported, or differs; nothing is written.
        ImportError: TensorFlow is not installed.
        FileExistsError: the folder holds something else.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> params, state = net.init(jax.random.key(0))
        >>> make = lambda: fn.export.tensorflow("linear", net, params, state, fn.export.spec(("batch", 3), name="x"))
        >>> report = make()  # doctest: +SKIP
        >>> report.error < 1e-6  # doctest: +SKIP
        True
    """
    target = as_path(directory)
    require_packages("export.tensorflow", "tensorflow", ["tensorflow"])
    _check_free(target)
    described = entries(net, inputs, name, preprocess, returns_state, **keywords)
    params, state = plain_arrays(params), plain_arrays(state)
    flats = {each: flatten_open(entry, params, state) for each, entry in described.items()}
    for each, flat in flats.items():
        show_warnings(each, check_exportable(flat, each, "tensorflow"))
    functions = [Staged(each, flat) for each, flat in flats.items()]
    given = examples if isinstance(net, Mapping) else {name: examples}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        job = Path(folder)
        stage(job, functions, differentiable)
        run_task("write_saved_model", job, "writing a SavedModel")
        made = job / "model"
        checks = (
            compared("run_saved_model", made, functions, given or {}, "the SavedModel")
            if verify
            else ()
        )
        _put_in_place(made, target)
    size = sum(each.stat().st_size for each in target.rglob("*") if each.is_file())
    return CompilerReport(target, size, checks)


def _check_free(target: Path) -> None:
    """Refuse to replace what is no SavedModel."""
    if target.exists() and not (target / "saved_model.pb").is_file():
        if target.is_dir() and not any(target.iterdir()):
            return
        raise FileExistsError(f"{target} is there and holds no SavedModel; name another folder")


def _put_in_place(made: Path, target: Path) -> None:
    """Rename a whole folder, with the old one out of the way."""
    old = made.parent / "old"
    if target.exists():
        target.replace(old)
    try:
        made.replace(target)
    except BaseException:
        if old.exists():
            old.replace(target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)
