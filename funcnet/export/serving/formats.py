"""Arrays in requests and answers, exactly: as JSON's nested lists, or as the bytes of a safetensors file.

No number is rounded, cut off or lost in silence. The bytes are many times quicker. JSON has no NaN and no
infinities: they are the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, both ways.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NoReturn, cast

import ml_dtypes
import numpy as np
import safetensors

from funcnet.core.safetensors_format import DTYPES
from funcnet.export.serving.refusals import Refusal, wrong_input
from funcnet.export.specs import ArraySpec

__all__: list[str] = []

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_KINDS = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "numbers"}
_MOST_AXES = 32
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def inputs_from_json(body: bytes, specs: Sequence[ArraySpec]) -> dict[str, np.ndarray]:
    """Read ``{"inputs": {"name": [...]}}``; of a lone input, its list alone will do: ``{"inputs": [...]}``.

    Raises:
        Refusal: 400 where it is no such JSON, 422 where an input is none that the function takes.
    """
    given = _parsed(body)
    if not isinstance(given, dict) or given.keys() != {"inputs"}:
        raise Refusal(400, 'expected a JSON object {"inputs": {"name": nested lists}}')
    inputs = given["inputs"]
    if not isinstance(inputs, dict):
        if len(specs) != 1:
            names = ", ".join(str(each.name) for each in specs)
            raise Refusal(422, f'"inputs" is an object with {names}: this function has several')
        inputs = {specs[0].name: inputs}
    known: dict[str, ArraySpec] = {str(each.name): each for each in specs}
    arrays: dict[str, np.ndarray] = {}
    for name, value in cast(
        "dict[str, Any]", inputs
    ).items():  # of an unknown name the signature tells, with all names
        arrays[name] = array_from_json(value, known[name]) if name in known else np.empty(0)
    return arrays


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f'{word} is no JSON; write "{word}", in quotes')


def array_from_json(value: Any, spec: ArraySpec) -> np.ndarray:
    """Make an array of nested lists.

    >>> from funcnet.export.serving.formats import array_from_json
    >>> array_from_json([[1, "NaN"]], fn.export.spec((1, 2), name="x"))
    array([[ 1., nan]], dtype=float32)
    """
    name, dtype = str(spec.name), np.dtype(spec.dtype)
    shape, flat = _flattened(value, spec)
    kind = _kind(dtype)
    if kind not in _KINDS:
        raise Refusal(422, f"input {name!r} is {dtype}, which JSON cannot hold: send safetensors")
    if kind == "f" and str in set(map(type, flat)):
        flat = [_NOT_FINITE.get(each, each) if isinstance(each, str) else each for each in flat]
    elif kind == "f" and any(map(math.isinf, (each for each in flat if type(each) is float))):
        raise wrong_input(name, str(spec), "a number beyond 1e308", 'write "Infinity" for infinity')
    allowed: set[type] = {"b": {bool}, "f": {int, float}}.get(kind, {int})
    wrong = [each for each in flat if type(each) not in allowed]
    if wrong:
        raise wrong_input(name, f"{spec}: {_KINDS[kind]}", _shown(wrong[0]))
    return _numbers(flat, dtype, spec).reshape(shape)


def _kind(dtype: np.dtype) -> str:
    """Tell booleans, integers and floats, of which 16 bits and fewer are NumPy's unknown kind."""
    if dtype.kind in "biuc":
        return dtype.kind
    return "f" if ml_dtypes.finfo(dtype) else ""


def _flattened(value: Any, spec: ArraySpec) -> tuple[tuple[int, ...], list[Any]]:
    """Take nested lists apart, level by level."""
    shape: list[int] = []
    flat = [value]
    while flat and isinstance(flat[0], list) and len(shape) < _MOST_AXES:
        length = len(flat[0])
        for row in flat:
            if not isinstance(row, list) or len(row) != length:
                found = (
                    f"rows of {length} and of {len(row)}" if isinstance(row, list) else _shown(row)
                )
                got = f"{found} at depth {len(shape)}"
                raise wrong_input(str(spec.name), str(spec), got, "all rows have one length")
        shape.append(length)
        flat = list(chain.from_iterable(flat))
    if flat and any(map(list.__instancecheck__, flat)):
        raise wrong_input(str(spec.name), str(spec), "lists beside numbers")
    return tuple(shape), flat


def _numbers(flat: list[Any], dtype: np.dtype, spec: ArraySpec) -> np.ndarray:
    """Convert numbers and say which does not fit."""
    if _kind(dtype) != "f":
        bounds = np.iinfo(dtype) if dtype.kind in "iu" else None
        if bounds is not None and flat and not bounds.min <= min(flat) <= max(flat) <= bounds.max:
            worst = max(flat) if max(flat) > bounds.max else min(flat)
            raise wrong_input(str(spec.name), str(spec), _shown(worst), f"{dtype} does not hold it")
        return np.array(flat, dtype)
    try:
        wide = np.array(flat, np.float64)
    except OverflowError:
        raise wrong_input(str(spec.name), str(spec), "a number beyond 1e308") from None
    with np.errstate(over="ignore"):
        made = wide.astype(dtype)
    lost = np.isfinite(wide) & ~np.isfinite(made.astype(np.float64))
    if lost.any():
        worst = float(wide[lost.argmax()])
        raise wrong_input(str(spec.name), str(spec), _shown(worst), f"{dtype} does not hold it")
    return made


def _shown(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, list | dict) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:50]}… ({len(text)} characters)"


def outputs_to_json(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Write ``{"outputs": {"name": [...]}}``.

    Raises:
        Refusal: 406, an output's dtype has no JSON.
    """
    lists = {name: _nested(name, array) for name, array in arrays.items()}
    return json.dumps({"outputs": lists}, allow_nan=False, separators=(",", ":")).encode()


def _nested(name: str, array: np.ndarray) -> Any:
    kind = _kind(array.dtype)
    if kind not in _KINDS:
        raise Refusal(
            406, f"output {name!r} is {array.dtype}, which JSON cannot hold: ask for safetensors"
        )
    if kind != "f":
        return array.tolist()
    wide = array.astype(np.float64)
    if np.isfinite(wide).all():
        return wide.tolist()
    named = wide.astype(object)
    for word, value in _NOT_FINITE.items():
        named[np.isnan(wide) if math.isnan(value) else wide == value] = word
    return named.tolist()


def arrays_from_bytes(body: bytes) -> dict[str, np.ndarray]:
    """Read the arrays of a safetensors file.

    Raises:
        Refusal: 400, the bytes are no such file.
    """
    try:
        found = safetensors.deserialize(body)
    except safetensors.SafetensorError as error:
        raise Refusal(400, f"the body is not a safetensors file: {error}") from None
    arrays = {}
    for name, described in found:
        dtype = DTYPES.get(described["dtype"])
        if dtype is None:
            raise Refusal(422, f"input {name!r} has dtype {described['dtype']}, which NumPy lacks")
        arrays[name] = np.frombuffer(described["data"], dtype).reshape(described["shape"])
    return arrays


def arrays_to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Write a safetensors file.

    >>> from funcnet.export.serving.formats import arrays_from_bytes, arrays_to_bytes
    >>> arrays_from_bytes(arrays_to_bytes({"x": np.arange(3.0)}))
    {'x': array([0., 1., 2.])}
    """
    header, chunks, end = {}, [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [end, end + len(data)],
        }
        end += len(data)
        chunks.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])
