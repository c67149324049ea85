"""A finished graph as ONNX's own file: what no output needs is left out, weights may lie beside it."""

import hashlib
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.errors import ExportError
from funcnet.export.onnx.finishing import all_nodes
from funcnet.export.onnx.graph import Graph, GraphNode, Value, carried

__all__ = ["IR_VERSIONS", "check_installed", "onnx_package", "write_model"]

IR_VERSIONS = {20: 9, 21: 10, 22: 10, 23: 11}
"""ONNX's versions of operators that can be asked for, with the version of the file that came with each."""

_LARGEST = 2_000_000_000
"""Bytes of a file of protobuf: 2 GiB, less some room for nodes."""

_ALIGNED = 4096
"""Where arrays begin in the file beside: runtimes map them into memory."""

_SMALL = 1024
"""Bytes below which an array stays in the model's own file: runtimes read shapes from there."""


def write_model(
    graph: Graph,
    folder: Path,
    name: str,
    *,
    opset: int,
    external: bool | None = None,
) -> list[Path]:
    """Write a graph into a folder.

    Args:
        graph: pruned.
        folder: that is there.
        name: of the file.
        opset: of ONNX's operators.
        external: whether weights lie in a file beside it, whose name is made of the model's and of what it holds;
            None for: if they are too large for one file.

    Returns:
        The model's path and, if there is one, that of its weights.
    """
    onnx = onnx_package()

    used = {name for node in all_nodes(graph) for name in node.inputs}
    stored = {k: v for k, v in graph.shared.initializers.items() if k in used}
    if external is None:
        external = sum(each.nbytes for each in stored.values()) >= _LARGEST
    beside = {k: v for k, v in stored.items() if external and v.nbytes >= _SMALL}
    within = [_tensor(k, v) for k, v in stored.items() if k not in beside]
    paths = [folder / name]
    if beside:
        data, places = _write_beside(folder, name, beside)
        paths.append(data)
        within += [_tensor_beside(k, beside[k], data.name, place) for k, place in places.items()]
    order = {k: number for number, k in enumerate(stored)}
    within.sort(key=lambda tensor: order[tensor.name])
    model = onnx.helper.make_model(
        _graph(graph, "model", within),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
        ir_version=IR_VERSIONS[opset],
        producer_name="funcnet",
        producer_version=_version(),
    )
    paths[0].write_bytes(model.SerializeToString(deterministic=True))
    return paths


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("funcnet")
    except PackageNotFoundError:
        return ""


def _write_beside(
    folder: Path, name: str, arrays: dict[str, np.ndarray]
) -> tuple[Path, dict[str, int]]:
    """Write arrays one after the other; return where each begins."""
    places: dict[str, int] = {}
    digest = hashlib.sha256()
    raw = folder / f"{name}.data"
    with raw.open("wb") as file:
        for key, array in arrays.items():
            places[key] = file.tell()
            content = _content(array).view(np.uint8).reshape(-1).data
            padding = bytes(-content.nbytes % _ALIGNED)
            for part in (content, padding):
                digest.update(part)
                file.write(part)
    # a name of its own for each content: a model never meets the weights of another, whatever fails between
    final = raw.with_name(f"{name}.{digest.hexdigest()[:12]}.data")
    raw.rename(final)
    return final, places


def _graph(graph: Graph, name: str, initializers: Sequence[Any]) -> Any:
    onnx = onnx_package()

    return onnx.helper.make_graph(
        [_node(node) for node in graph.nodes],
        name,
        [_value_info(each, declared=graph is graph.root) for each in graph.inputs],
        [_value_info(each, declared=graph is graph.root) for each in graph.outputs],
        list(initializers),
    )


def _node(node: GraphNode) -> Any:
    onnx = onnx_package()

    made = onnx.helper.make_node(node.op_type, node.inputs, node.outputs, name=node.name)
    for key, value in sorted(node.attributes.items()):
        made.attribute.append(onnx.helper.make_attribute(key, _attribute(value, node, key)))
    return made


def _attribute(value: Any, node: GraphNode, key: str) -> Any:
    if isinstance(value, Graph):
        return _graph(value, f"{node.name}/{key}", [])
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return element_type(np.dtype(value))
    if isinstance(value, np.ndarray):
        return _tensor("", value)
    if isinstance(value, bool | np.integer):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, tuple | list):
        return [_attribute(each, node, key) for each in value]
    return value


def element_type(dtype: Any) -> int:
    """Return ONNX's number of a dtype."""
    onnx = onnx_package()

    dtype = jnp.dtype(dtype)
    if dtype.name not in _ELEMENT_TYPES:
        raise ExportError(f"ONNX: no dtype of ONNX is {dtype.name}")
    return int(getattr(onnx.TensorProto, _ELEMENT_TYPES[dtype.name]))


_ELEMENT_TYPES = {
    "bool": "BOOL",
    "uint4": "UINT4",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "float16": "FLOAT16",
    "bfloat16": "BFLOAT16",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "complex64": "COMPLEX64",
    "complex128": "COMPLEX128",
}


def _value_info(value: Value, declared: bool) -> Any:
    """Describe an input or output; those of the model itself have the dtype that was asked for."""
    onnx = onnx_package()

    dtype = value.dtype if declared else carried(value.dtype)
    shape = [n if isinstance(n, int) else str(n) for n in value.shape or ()]
    return onnx.helper.make_tensor_value_info(value.name, element_type(dtype), shape)


def _tensor(name: str, array: np.ndarray) -> Any:
    onnx = onnx_package()

    tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=element_type(array.dtype))
    tensor.raw_data = _content(array).tobytes()
    return tensor


def _content(array: np.ndarray) -> np.ndarray:
    """Return an array's bytes as a file has them: two numbers of four bits in one, the first in its lower half."""
    if array.dtype != jnp.uint4:
        return np.ascontiguousarray(array)
    codes = array.astype(np.uint8).reshape(-1)
    codes = np.pad(codes, (0, codes.size % 2))
    return codes[::2] | codes[1::2] << 4


def _tensor_beside(name: str, array: np.ndarray, file: str, place: int) -> Any:
    onnx = onnx_package()

    tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=element_type(array.dtype))
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", place), ("length", _content(array).nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def check_installed(*names: str) -> None:
    """Say what to install if one of these packages is not there."""
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"ONNX export needs the packages {' and '.join(missing)}: pip install 'funcnet[onnx]'"
        )


def onnx_package() -> Any:
    """Import ONNX's own package, which has the name of this room."""
    return import_module("onnx")
