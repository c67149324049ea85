"""What runs in a process of its own: TensorFlow and LiteRT, beside neither JAX nor funcnet.

This file is a script too, so that it imports nothing of the package: ``python -P child.py TASK FOLDER``. The folder
holds what to do as ``job.json`` and arrays as lists (`write_arrays`).
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

__all__ = ["read_arrays", "write_arrays"]

_ALIGNMENT = 64


def write_arrays(path: Path, arrays: Sequence[Any]) -> None:
    """Write a list of arrays: their bytes, and a table of dtypes and shapes beside them.

    Args:
        path: without a suffix.
        arrays: of any dtype that NumPy or ml_dtypes has.
    """
    table = []
    with path.with_suffix(".bin").open("wb") as file:
        for array in arrays:
            array = np.asarray(array)
            table.append([array.dtype.name, list(array.shape), file.tell()])
            file.write(np.ascontiguousarray(array).tobytes())
            file.write(bytes(-file.tell() % _ALIGNMENT))
    path.with_suffix(".json").write_text(json.dumps(table))


def read_arrays(path: Path) -> list[np.ndarray]:
    """Read what `write_arrays` wrote."""
    table = json.loads(path.with_suffix(".json").read_text())
    content = path.with_suffix(".bin").read_bytes()
    return [_array(content, *each) for each in table]


def _array(content: bytes, name: str, shape: list[int], offset: int) -> np.ndarray:
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(content, dtype, count, offset).reshape(shape)


# ---- TensorFlow ----------------------------------------------------------------------------------


def write_saved_model(folder: Path) -> None:
    """Make a SavedModel in ``folder/model`` of the programs and weights beside it."""
    import tensorflow as tf

    job = json.loads((folder / "job.json").read_text())
    module: Any = tf.Module()
    arrays = read_arrays(folder / "weights")
    module.weights = {
        each["name"]: tf.Variable(tf.constant(array), each["trainable"], name=each["name"])
        for each, array in zip(job["weights"], arrays, strict=True)
    }
    made = {each["name"]: _function(folder, module, each) for each in job["functions"]}
    for name, function in made.items():
        if name.isidentifier() and not hasattr(module, name):
            setattr(module, name, function)
    signatures = {name: function.get_concrete_function() for name, function in made.items()}
    if job["default"]:
        signatures["serving_default"] = signatures[job["functions"][0]["name"]]
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=job["differentiable"])
    tf.saved_model.save(module, str(folder / "model"), signatures, options)


def _function(folder: Path, module: Any, described: dict[str, Any]) -> Any:
    """Make a function of TensorFlow of one program."""
    import tensorflow as tf

    specs = [
        tf.TensorSpec(each["shape"], each["dtype"], each["name"]) for each in described["inputs"]
    ]
    call = _caller(folder / described["program"], described["outputs"])
    if described["gradient"]:
        call = _differentiable(call, folder, described)
    names = [each["name"] for each in described["outputs"]]

    @tf.function(input_signature=specs, autograph=False)
    def function(*inputs: Any) -> dict[str, Any]:
        weights = [module.weights[name].read_value() for name in described["weights"]]
        return dict(zip(names, call(*weights, *inputs), strict=True))

    return function


def _caller(program: Path, outputs: Sequence[dict[str, Any]]) -> Callable[..., Any]:
    """Make a function that calls a program in StableHLO on whatever device TensorFlow runs it."""
    import tensorflow as tf
    from tensorflow.compiler.tf2xla.python import xla

    content = program.read_bytes()

    def call(*arrays: Any) -> Any:
        return xla.call_module(
            arrays,
            version=9,  # of the conventions of the call: no tokens, no partitioner
            module=content,
            Tout=[tf.dtypes.as_dtype(each["dtype"]) for each in outputs],
            Sout=[each["shape"] for each in outputs],
            platforms=["CPU"],
            # it holds no call of a library, so that any platform may run it
            disabled_checks=[xla.call_module_disable_check_platform()],
        )

    return call


def _differentiable(call: Callable[..., Any], folder: Path, described: dict[str, Any]) -> Any:
    """Give a function its derivative, which is a program too."""
    import tensorflow as tf

    gradient = described["gradient"]
    pull = _caller(folder / gradient["program"], gradient["outputs"])

    @tf.custom_gradient
    def function(*arrays: Any) -> Any:
        outputs = call(*arrays)

        def pulled(*cotangents: Any) -> list[Any]:
            found = pull(*arrays, *(cotangents[place] for place in gradient["of_outputs"]))
            every: list[Any] = [None] * len(arrays)
            for place, one in zip(gradient["of_arrays"], found, strict=True):
                every[place] = one
            return every

        return outputs, pulled

    return function


def run_saved_model(folder: Path) -> None:
    """Load a SavedModel as any user does, and run its signatures."""
    import tensorflow as tf

    job = json.loads((folder / "job.json").read_text())
    loaded = tf.saved_model.load(job["model"])

    def run(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        outputs = loaded.signatures[name](**{key: tf.constant(x) for key, x in inputs.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    _run_cases(folder, job, run)


# ---- LiteRT --------------------------------------------------------------------------------------


def convert_to_lite(folder: Path) -> None:
    """Turn a SavedModel of fixed shapes into ``folder/model.tflite``."""
    import tensorflow as tf

    write_saved_model(folder)
    job = json.loads((folder / "job.json").read_text())
    names = [each["name"] for each in job["functions"]]
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "model"), names)
    if job["weights_as"] != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if job["weights_as"] == "float16":
        converter.target_spec.supported_types = [tf.float16]
    (folder / "model.tflite").write_bytes(converter.convert())


def run_lite(folder: Path) -> None:
    """Load a model of LiteRT and run its signatures."""
    from ai_edge_litert.interpreter import Interpreter

    job = json.loads((folder / "job.json").read_text())
    interpreter = Interpreter(model_path=job["model"], num_threads=1)

    def run(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
        return interpreter.get_signature_runner(name)(**inputs)

    _run_cases(folder, job, run)


# ---- both ----------------------------------------------------------------------------------------


def _run_cases(
    folder: Path, job: dict[str, Any], run: Callable[[str, dict[str, Any]], dict[str, Any]]
) -> None:
    """Run every case: ``inputs_N`` are its arrays, ``outputs_N`` what comes out."""
    for number, case in enumerate(job["cases"]):
        inputs = dict(zip(case["inputs"], read_arrays(folder / f"inputs_{number}"), strict=True))
        outputs = run(case["function"], inputs)
        write_arrays(folder / f"outputs_{number}", [outputs[name] for name in case["outputs"]])


_TASKS = {
    each.__name__: each for each in (write_saved_model, run_saved_model, convert_to_lite, run_lite)
}

if __name__ == "__main__":
    _TASKS[sys.argv[1]](Path(sys.argv[2]))
