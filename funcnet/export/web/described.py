"""What a page must know of a model: read from the .onnx file, and held to what its kind of page can feed."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from funcnet.core.errors import ExportError
from funcnet.core.files import as_path

__all__: list[str] = []

_SIDE = 28


@dataclass(frozen=True)
class WebArray:
    """An input or output of the model; open lengths have their names, or are None."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        """Spell it as messages do."""
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class WebModel:
    """A model in one file."""

    content: bytes
    inputs: tuple[WebArray, ...]
    outputs: tuple[WebArray, ...]


def read_model(path: str | os.PathLike[str]) -> WebModel:
    """Read an .onnx file.

    Raises:
        ImportError: the package onnx is not installed.
        FileNotFoundError: there is no such file.
        ExportError: it is no model, or keeps its weights in other files.
    """
    file = as_path(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}: write it with export.onnx")
    onnx = _onnx()
    content = file.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and the checker's own, of many kinds
        raise ExportError(f"{file} is not a model that a page can hold: {error}") from None
    graph = model.graph
    if any(each.data_location == onnx.TensorProto.EXTERNAL for each in graph.initializer):
        raise ExportError(
            f"{file} keeps its weights in another file: a page holds one, so export it with external=False"
        )
    weights = {each.name for each in graph.initializer}
    return WebModel(
        content,
        tuple(_array(onnx, each) for each in graph.input if each.name not in weights),
        tuple(_array(onnx, each) for each in graph.output),
    )


def _onnx() -> Any:
    try:
        import onnx
        import onnx.checker
    except ImportError as error:
        raise ImportError(
            "a page needs onnx: pip install 'funcnet[onnx]'", name=error.name
        ) from None
    return onnx


def _array(onnx: Any, described: Any) -> WebArray:
    tensor = described.type.tensor_type
    lengths = tuple(
        each.dim_value if each.HasField("dim_value") else each.dim_param or None
        for each in tensor.shape.dim
    )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return WebArray(described.name, dtype, lengths)


def digit_settings(
    model: WebModel, labels: Sequence[str], pixels: tuple[float, float], output: str
) -> dict[str, Any]:
    """Describe a model of images: one image in, one number for each label out, and what moved it if it tells.

    Raises:
        ExportError: the model is of another kind.
    """
    image = _only_input(model)
    shape = tuple(length if isinstance(length, int) else 1 for length in image.shape)
    if image.dtype not in {"float32", "uint8"} or math.prod(shape) != _SIDE * _SIDE:
        raise ExportError(
            f"the page feeds one image of {_SIDE} x {_SIDE} pixels, float32 or uint8, such as "
            f"float32[batch, 1, 28, 28]; the model takes {image}"
        )
    scores = model.outputs[0]
    if scores.dtype != "float32" or scores.shape[-1:] != (len(labels),):
        raise ExportError(
            f"the page shows one float32 for each of {len(labels)} labels ({', '.join(labels[:10])}); the model's "
            f"first output is {scores}: give as many labels"
        )
    moved = [each.name for each in model.outputs[1:] if _moved(each, image)]
    return {
        "input": {"name": image.name, "dtype": image.dtype, "shape": list(shape)},
        "output": {"name": scores.name, "kind": output},
        "labels": list(labels),
        "pixels": list(pixels),
        "moved": moved[0] if moved else None,
    }


def _moved(output: WebArray, image: WebArray) -> bool:
    """Tell an output that has a number for each pixel."""
    lengths = [each if isinstance(each, int) else 1 for each in output.shape]
    return (
        output.dtype == "float32"
        and len(lengths) == len(image.shape)
        and math.prod(lengths) == _SIDE**2
    )


def text_settings(
    model: WebModel, vocabulary: Sequence[str], context: int | None
) -> dict[str, Any]:
    """Describe a model of text: tokens ``(batch, time)`` in, logits ``(batch, time, vocabulary)`` out.

    Raises:
        ExportError: the model is of another kind, or has another vocabulary.
    """
    tokens, logits = _only_input(model), model.outputs[0]
    if tokens.dtype not in {"int32", "int64"} or len(tokens.shape) != 2:
        raise ExportError(
            f"the page feeds tokens, int32[batch, time] or int64; the model takes {tokens}"
        )
    if logits.dtype != "float32" or len(logits.shape) != 3 or logits.shape[-1] != len(vocabulary):
        raise ExportError(
            f"the page needs logits, float32[batch, time, {len(vocabulary)}], one for each of the vocabulary's "
            f"{len(vocabulary)} characters; the model's first output is {logits}"
        )
    length = tokens.shape[1]
    if isinstance(length, int) and context not in {None, length}:
        raise ExportError(f"the model takes {length} tokens, not context={context}")
    if not isinstance(length, int) and context is None:
        raise ExportError("say how many tokens the model can look back: context=64")
    return {
        "input": {"name": tokens.name, "dtype": tokens.dtype},
        "output": {"name": logits.name, "kind": "logits"},
        "vocabulary": list(vocabulary),
        "context": length if isinstance(length, int) else context,
        "fixed": isinstance(length, int),
    }


def _only_input(model: WebModel) -> WebArray:
    if len(model.inputs) != 1 or not model.outputs:
        given = "; ".join(map(str, model.inputs))
        raise ExportError(f"the page feeds one input; the model takes {len(model.inputs)}: {given}")
    return model.inputs[0]


def asset(name: str) -> str:
    """Read a file that lies beside this one."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
