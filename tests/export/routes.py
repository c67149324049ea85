"""The ways out of Python, as `test_models` takes them: each makes a function of lists of arrays out of a model."""

import ctypes
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import export, nn
from funcnet.export.flat import flatten_entry

Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


@dataclass(frozen=True)
class Route:
    """A way out.

    Attributes:
        prepare: ``(model, function, folder, batches) -> run``.
        needs: packages.
        dtypes: that it can carry.
        sample: how many models a sample takes; None for all.
        reports: whether `prepare` takes no batches and gives the exporter's report instead: what runs in another
            process was compared there.
    """

    prepare: Callable[..., Run]
    needs: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    sample: int | None = None
    reports: bool = False


def artifact(model, function, folder, batches):
    """Save, load, call; the batches are not told, except for those that are by default."""
    entries = {function: model.entries[function]}
    path = export.save(folder / "model.fnx", entries, model.params, model.state)
    loaded = export.load(path)[function]
    structure = jax.tree.structure(model.example(function, 1))

    def run(arrays):
        outputs = loaded(*jax.tree.unflatten(structure, arrays))
        return [np.asarray(leaf) for leaf in jax.tree.leaves(with_caches(outputs))]

    return run


def with_caches(tree):
    """Make caches of the dicts that stand for them where the class is not known: their order of leaves is another."""
    if isinstance(tree, dict) and set(tree) == set(nn.KeyValueCache._fields):
        return nn.KeyValueCache(**tree)
    if isinstance(tree, list | tuple):
        return type(tree)(map(with_caches, tree))
    return tree


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


def iree(model, function, folder, batches):
    """Save with programs for these batches; compile each as docs/guides/export_iree.md says."""
    sizes = [{"batch": each} for each in batches]
    path = export.save(
        folder / "model.fnx",
        {"call": model.entries[function]},
        model.params,
        model.state,
        sizes=sizes,
    )
    page = (Path(__file__).parents[2] / "docs" / "guides" / "export_iree.md").read_text()
    script = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    script = script.replace('"model.fnx"', repr(str(path)))
    calls = {}
    for each in sizes:
        names = {}
        exec(script.replace('{"batch": 1}', repr(each)), names)
        calls[each["batch"]] = names["call"]
    batch_of = {}
    for batch in batches:
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(model.example(function, batch))]
        batch_of[str(shapes)] = batch
    return lambda arrays: calls[batch_of[str([np.shape(each) for each in arrays])]](*arrays)


def tensorflow(model, function, folder):
    """Write a SavedModel; it is loaded and compared in a process of its own at 1, 2, 3 and 32."""
    return export.tensorflow(folder / "model", *compared_at(model, function))


def litert(model, function, folder):
    """Write a model of LiteRT for a batch of two; it is loaded and compared in a process of its own."""
    return export.litert(
        folder / "model.tflite", *compared_at(model, function), sizes=[{"batch": 2}]
    )


def compared_at(model, function):
    return model.entries[function], model.params, model.state


ROUTES = {
    "artifact": Route(artifact),
    "native": Route(native),
    "onnx": Route(onnx, ("onnx", "onnxruntime")),
    "iree": Route(iree, ("iree.compiler", "iree.runtime"), ("float32",), sample=2),
    "tensorflow": Route(tensorflow, ("tensorflow",), ("float32",), 1, reports=True),
    "litert": Route(litert, ("tensorflow", "ai_edge_litert"), ("float32",), 1, reports=True),
}
