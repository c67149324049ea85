"""The ways out of Python, as `test_models` takes them: each makes a function of lists of arrays out of a model."""

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import export
from funcnet.export.flat import flatten_entry

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Route:
    """A way out.

    Attributes:
        prepare: ``(model, function, folder, batches) -> run``.
        needs: packages.
        dtypes: that it can carry.
        one_of: of how many models a sample takes one.
    """

    prepare: Callable[..., Run]
    needs: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    one_of: int = 1


def artifact(model, function, folder, batches):
    """Save, load, call; the batches are not told, except for those that are by default."""
    entries = {function: model.entries[function]}
    path = export.save(folder / "model.fnx", entries, model.params, model.state)
    loaded = export.load(path)[function]
    structure = jax.tree.structure(model.example(function, 1))

    def run(arrays):
        outputs = loaded(*jax.tree.unflatten(structure, arrays))
        return [np.asarray(leaf) for leaf in jax.tree.leaves(outputs)]

    return run


def native(model, function, folder, batches):
    """Save with programs for these batches; open in the C++ runner with a plugin for CPUs."""
    from tests.export.native import runner

    entries, sizes = {function: model.entries[function]}, [{"batch": each} for each in batches]
    path = export.save(folder / "model.fnx", entries, model.params, model.state, sizes=sizes)
    opened = runner.Library().device(runner.plugin_path("xla-cpu-pjrt")).open(path)
    return lambda arrays: opened.call(function, *arrays)


def onnx(model, function, folder, batches):
    """Export with the batch left open; open in ONNX Runtime."""
    import onnxruntime

    path, entry = folder / "model.onnx", model.entries[function]
    export.onnx(path, entry, model.params, model.state, verify=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in flatten_entry(entry, model.params, model.state).inputs]
    return lambda arrays: onnx_run(session, dict(zip(names, arrays, strict=True)))


def onnx_run(session, arrays):
    """Run a session; bfloat16 goes in and out as the numbers behind it, because NumPy has no such dtype."""
    from onnxruntime import OrtValue

    given = {}
    for each in session.get_inputs():
        array = arrays[each.name]
        given[each.name] = (
            OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), BFLOAT16)
            if array.dtype == jnp.bfloat16
            else OrtValue.ortvalue_from_numpy(array)
        )
    names = [each.name for each in session.get_outputs()]
    return list(map(onnx_array, session.run_with_ort_values(names, given)))


def onnx_array(value):
    """Take an output out of ONNX Runtime."""
    if value.element_type() != BFLOAT16:
        return value.numpy()
    text = ctypes.string_at(value.data_ptr(), 2 * math.prod(value.shape()))
    return np.frombuffer(text, jnp.bfloat16).reshape(value.shape())


BFLOAT16 = 16
"""ONNX's number of the dtype."""

ROUTES = {
    "artifact": Route(artifact),
    "native": Route(native),
    "onnx": Route(onnx, ("onnx", "onnxruntime")),
}
