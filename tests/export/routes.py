"""The ways out of Python, as `test_models` takes them: each makes a function of lists of arrays out of a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import export

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


def onnx(model, function, folder, batches):
    """Export, open in ONNX Runtime; bfloat16 goes in and out as float32, which is what NumPy can hold."""
    import onnxruntime

    path = folder / "model.onnx"
    export.onnx(path, model.entries[function], model.params, model.state, verify=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda arrays: onnx_run(session, arrays)


def onnx_run(session, arrays):
    """Run a session on arrays in the order of its inputs."""
    import onnxruntime

    given = {}
    for each, array in zip(session.get_inputs(), arrays, strict=True):
        if array.dtype == jnp.bfloat16:
            given[each.name] = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
                array.view(np.uint16), 16
            )
        else:
            given[each.name] = onnxruntime.OrtValue.ortvalue_from_numpy(array)
    names = [each.name for each in session.get_outputs()]
    outputs = session.run_with_ort_values(names, given)
    return [
        output.numpy().view(jnp.bfloat16) if output.element_type() == 16 else output.numpy()
        for output in outputs
    ]


ROUTES = {
    "artifact": Route(artifact),
    "onnx": Route(onnx, ("onnx", "onnxruntime")),
}
