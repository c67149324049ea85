"""The sides of `benchmarks.export` in PyTorch: each takes NumPy's array and returns one."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.export_models import Pair

__all__ = ["SIDES"]

Call = Callable[[], np.ndarray]


def _of_tensors(pair: Pair, function: Any) -> Call:
    def call() -> np.ndarray:
        with torch.inference_mode():
            return function(torch.from_numpy(pair.x)).numpy()

    return call


def eager(pair: Pair, folder: Path) -> Call:
    """Call the module."""
    return _of_tensors(pair, pair.theirs)


def torchscript(pair: Pair, folder: Path) -> Call:
    """Trace, freeze, save, load: what libtorch runs."""
    file = str(folder / "model.pt")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # it is deprecated, and still what many run
        traced = torch.jit.trace(pair.theirs, torch.from_numpy(pair.x))
        torch.jit.save(torch.jit.freeze(traced), file)
        return _of_tensors(pair, torch.jit.load(file))


def ahead_of_time(pair: Pair, folder: Path) -> Call:
    """Compile with AOTInductor for this batch; load the package."""
    import torch._inductor

    with torch.inference_mode(False), torch.no_grad():
        program = torch.export.export(pair.theirs, (torch.from_numpy(pair.x),))
        package = torch._inductor.aoti_compile_and_package(
            program, package_path=str(folder / "model.pt2")
        )
    return _of_tensors(pair, torch._inductor.aoti_load_package(package))


def onnx(pair: Pair, folder: Path) -> Call:
    """Export by PyTorch's own exporter with the batch left open; run in ONNX Runtime."""
    from benchmarks.export_ours import session

    file = folder / "theirs.onnx"
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    # an example of one image would fix the batch: two stand for any number
    example = torch.from_numpy(np.repeat(pair.x[:1], 2, axis=0))
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            pair.theirs,
            (example,),
            str(file),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    return session(file, pair)


SIDES = {
    "PyTorch, eager": eager,
    "PyTorch, TorchScript": torchscript,
    "PyTorch, AOTInductor": ahead_of_time,
    "PyTorch, its ONNX in ONNX Runtime": onnx,
}
