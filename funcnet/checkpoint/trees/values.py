"""Python's own values as JSON, and exactly those values back."""

import base64
import math
import struct
from typing import Any

__all__ = ["decode_value", "encode_value", "is_value"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes)

_JSON_INTEGERS = 2**63
"""Larger integers are written in hexadecimal, which takes any number of digits quickly."""


def is_value(value: Any) -> bool:
    """Say whether a leaf is one of Python's own values: ``None``, a number, text or bytes.

    >>> is_value(2**100), is_value(b"a"), is_value([1]), is_value(np.float64(1.0))
    (True, True, False, False)
    """
    return type(value) in _PLAIN


def encode_value(value: Any) -> Any:
    """Write a value, or a tuple of values, as JSON.

    >>> encode_value(1.5), encode_value(float("nan")), encode_value(("a", 1))
    (1.5, {'nan': '7ff8000000000000'}, {'tuple': ['a', 1]})
    """
    if isinstance(value, tuple):
        return {"tuple": [encode_value(item) for item in value]}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, complex):
        return {"complex": [encode_value(value.real), encode_value(value.imag)]}
    if isinstance(value, float) and math.isnan(value):
        return {"nan": struct.pack(">d", value).hex()}  # there are many of them
    if isinstance(value, float) and math.isinf(value):
        return {"float": str(value)}
    if type(value) is int and abs(value) >= _JSON_INTEGERS:
        return {"int": hex(value)}
    return value


def decode_value(value: Any) -> Any:
    """Give back what `encode_value` wrote.

    >>> decode_value(encode_value((b"a", 2**70, -0.0)))
    (b'a', 1180591620717411303424, -0.0)

    Raises:
        ValueError: it is nothing that `encode_value` writes.
    """
    if not isinstance(value, dict):
        if type(value) in (type(None), bool, int, float, str):
            return value
        raise ValueError(f"no value: {value!r:.60}")
    if len(value) != 1:
        raise ValueError(f"no value: {value!r:.60}")
    ((kind, content),) = value.items()
    match kind, content:
        case "tuple", list():
            return tuple(decode_value(item) for item in content)
        case "bytes", str():
            return base64.b64decode(content, validate=True)
        case "complex", [real, imaginary]:
            return complex(decode_value(real), decode_value(imaginary))
        case "float", "inf" | "-inf":
            return float(content)
        case "nan", str():
            return struct.unpack(">d", bytes.fromhex(content).rjust(8, b"\0")[:8])[0]
        case "int", str():
            return int(content, 16)
        case _:
            raise ValueError(f"no value: {value!r:.60}")
