"""The sides of `benchmarks.export` in funcnet: each takes NumPy's array and returns one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch

from benchmarks.export_models import Pair
from funcnet import export

__all__ = ["SIDES", "session"]

Call = Callable[[], np.ndarray]


def _spec(pair: Pair) -> export.ArraySpec:
    return export.spec(("batch", *pair.x.shape[1:]), pair.x.dtype, "x")


def _exported(pair: Pair) -> tuple[Any, ...]:
    """Return the arguments that every exporter takes."""
    return pair.net, pair.params, pair.state, _spec(pair)


def jitted(pair: Pair, folder: Path) -> Call:
    """Call the model under `jax.jit`: nothing is exported."""
    run = jax.jit(lambda params, state, x: pair.net.apply(params, state, x)[0])
    return lambda: np.asarray(run(pair.params, pair.state, pair.x))


def artifact(pair: Pair, folder: Path) -> Call:
    """Save the artifact, load it, call it in JAX."""
    file = export.save(folder / "model.fnx", *_exported(pair))
    loaded = export.load(file)
    run = jax.jit(loaded.__call__)
    return lambda: np.asarray(run(pair.x))


def session(file: Path, pair: Pair) -> Call:
    """Open an ONNX file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # threads that spin while they wait would take the processors from the side whose turn is next
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    opened = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (given,) = opened.get_inputs()
    return lambda: opened.run(None, {given.name: pair.x})[0]


def onnx(pair: Pair, folder: Path) -> Call:
    """Export to ONNX with the batch left open; run in ONNX Runtime."""
    file = folder / "ours.onnx"
    export.onnx(file, *_exported(pair), verify=False)
    return session(file, pair)


def tensorflow(pair: Pair, folder: Path) -> Call:
    """Write a SavedModel with the batch left open; load it in TensorFlow."""
    import tensorflow as tf

    threads = torch.get_num_threads()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    report = export.tensorflow(folder / "tensorflow", *_exported(pair), verify=False)
    loaded = tf.saved_model.load(str(report.path))
    run = loaded.signatures["serving_default"]
    return lambda: run(x=tf.constant(pair.x))["output"].numpy()


def litert(pair: Pair, folder: Path) -> Call:
    """Convert for this batch; load it in LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    spec = export.spec(pair.x.shape, pair.x.dtype, "x")
    report = export.litert(
        folder / "model.tflite", pair.net, pair.params, pair.state, spec, verify=False
    )
    loaded = Interpreter(model_path=str(report.path), num_threads=torch.get_num_threads())
    run = loaded.get_signature_runner()
    return lambda: run(x=pair.x)["output"]


SIDES = {
    "funcnet, jax.jit": jitted,
    "funcnet, artifact in JAX": artifact,
    "funcnet, ONNX in ONNX Runtime": onnx,
    "funcnet, SavedModel in TensorFlow": tensorflow,
    "funcnet, LiteRT": litert,
}
