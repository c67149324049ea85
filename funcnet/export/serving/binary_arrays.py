"""Arrays as the bytes of a safetensors file: exact, and many times quicker than JSON."""

import json
from collections.abc import Mapping

import numpy as np
import safetensors

from funcnet.core.safetensors_format import DTYPES
from funcnet.export.serving.refusals import Refusal

__all__: list[str] = []

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


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

    >>> from funcnet.export.serving.binary_arrays import arrays_from_bytes, arrays_to_bytes
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
