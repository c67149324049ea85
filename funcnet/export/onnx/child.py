"""ONNX Runtime in a process of its own: this file is its program. A file that kills it kills nothing else.

It reads requests and writes answers, each pickled behind its length, and imports neither JAX nor funcnet.
"""

import ctypes
import math
import pickle
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

_BFLOAT16 = 16
"""ONNX's number of the dtype: NumPy has none, so such arrays travel as uint16."""


def read_message(stream: BinaryIO) -> Any:
    """Read one message; None at the end of the stream."""
    header = stream.read(8)
    if len(header) < 8:
        return None
    (size,) = struct.unpack("<Q", header)
    content = stream.read(size)
    return pickle.loads(content) if len(content) == size else None


def write_message(stream: BinaryIO, message: Any) -> None:
    """Write one message."""
    content = pickle.dumps(message, protocol=5)
    stream.write(struct.pack("<Q", len(content)))
    stream.write(content)
    stream.flush()


def answer_request(request: dict[str, Any]) -> dict[str, Any]:
    """Run a model on each of several sets of inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # products with weights in few bits in float32: unasked, ONNX Runtime rounds their inputs to 8 bits as well
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    # rounding where the file says so: unasked, it rounds biases too, for products of integers
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        session = onnxruntime.InferenceSession(
            request["model"], options, providers=["CPUExecutionProvider"]
        )
        known = {each.name for each in session.get_inputs()}
        runs = [{k: v for k, v in run.items() if k in known} for run in request["runs"]]
        return {"outputs": [_run(onnxruntime, session, run) for run in runs]}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def _run(onnxruntime: Any, session: Any, inputs: dict[str, Any]) -> list[Any]:
    make = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
    plain = onnxruntime.OrtValue.ortvalue_from_numpy
    given = {
        name: make(array, _BFLOAT16) if is_short else plain(array)
        for name, (array, is_short) in inputs.items()
    }
    names = [each.name for each in session.get_outputs()]
    return [_taken(each) for each in session.run_with_ort_values(names, given)]


def _taken(value: Any) -> tuple[Any, bool]:
    """Take an output out; one of bfloat16 as the numbers behind it."""
    if value.element_type() != _BFLOAT16:
        return value.numpy(), False
    count = math.prod(value.shape())
    content = ctypes.string_at(value.data_ptr(), 2 * count) if count else b""
    return np.frombuffer(content, np.uint16).reshape(value.shape()), True


def answer_requests() -> None:
    """Answer until nobody asks."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while (request := read_message(source)) is not None:
        write_message(target, answer_request(request))


if __name__ == "__main__":
    answer_requests()
