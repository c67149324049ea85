"""Leaves as arrays that a file can hold, with a note of what they were."""

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.core import Tracer

from funcnet.core.safetensors_format import DTYPES
from funcnet.module import Module

__all__ = [
    "describe_leaf",
    "key_dtype",
    "named_dtype",
    "native_dtype",
    "require_array",
    "to_storage",
]

_RARE = (
    "float4_e2m1fn",
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "int1",
    "int2",
    "int4",
    "uint1",
    "uint2",
    "uint4",
)
"""Dtypes of one byte that the files have no name for."""

_STORED = set(DTYPES.values())


def to_storage(name: str, leaf: Any) -> tuple[Any, dict[str, Any]]:
    """Turn a leaf into an array that a file can hold, and a note of what it was.

    Args:
        name: where it stands in its tree, for messages.
        leaf: an array of JAX or NumPy, a random key, or a number of NumPy's.

    Returns:
        The array, and ``{"kind": ...}`` with what is needed to make the leaf of it again.

    Raises:
        TypeError: it is no array, or of a dtype that cannot be saved.
        ValueError: its memory was given to another computation.
    """
    require_array(name, leaf)
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            raise ValueError(
                f"{name} was donated to a jitted function and is gone: save what that function returned"
            )
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.key_data(leaf), {"kind": "key", "impl": _implementation(name, leaf)}
        note: dict[str, Any] = {"kind": "weak" if leaf.weak_type else "jax"}
    elif isinstance(leaf, np.ndarray):
        note = {"kind": "numpy"}
    else:
        leaf, note = np.asarray(leaf), {"kind": "number"}
    return _with_known_dtype(name, leaf, note)


def require_array(name: str, leaf: Any) -> None:
    """Raise ``TypeError`` unless a leaf is an array, a random key or a number of NumPy's.

    >>> require_array("w", np.ones(2))
    """
    if isinstance(leaf, Tracer):
        raise TypeError(
            f"{name} is traced: save and load outside of jax.jit, jax.grad and jax.vmap, with the arrays that they "
            "return"
        )
    # subclasses of NumPy's arrays may hold more than numbers, such as a mask
    if not isinstance(leaf, jax.Array | np.generic) and type(leaf) not in (np.ndarray, np.memmap):
        raise TypeError(_refusal(name, leaf))


def native_dtype(dtype: Any) -> Any:
    """Give a dtype in this machine's order of bytes, in which arrays come back whatever theirs was.

    >>> native_dtype(np.dtype(">f4")), native_dtype(np.dtype("<M8[ns]"))
    (dtype('float32'), dtype('<M8[ns]'))
    """
    ordered = isinstance(dtype, np.dtype) and dtype.kind in "iufcmM"
    return dtype.newbyteorder("=") if ordered else dtype


def _with_known_dtype(name: str, array: Any, note: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    dtype = native_dtype(array.dtype)
    if dtype in _STORED:
        return array, note
    if not getattr(array, "is_fully_addressable", True):
        raise TypeError(
            f"{name} is an array of dtype {dtype} over several processes, which cannot be saved: cast it"
        )
    note = {**note, "dtype": dtype.str if dtype.kind in "mM" else dtype.name}
    if dtype == np.complex128:
        return np.asarray(array, order="C").astype(dtype)[..., None].view(np.float64), note
    if dtype.kind in "mM":
        return np.asarray(array).astype(dtype).view(np.int64), note
    if dtype.name in _RARE:
        return np.asarray(array).view(np.uint8), note
    raise TypeError(
        f"{name} is an array of dtype {dtype}, which cannot be saved: make numbers of it, or a list of Python's own "
        "values (array.tolist())"
    )


def named_dtype(name: str) -> np.dtype[Any]:
    """Find the dtype that a note names.

    >>> named_dtype("int4"), named_dtype("complex128")
    (dtype(int4), dtype('complex128'))

    Raises:
        ValueError: there is none of this name that a note may name.
    """
    if name in _RARE and hasattr(ml_dtypes, name):
        return np.dtype(getattr(ml_dtypes, name))
    if name == "complex128" or name.lstrip("<=>").startswith(("m8", "M8")):
        return np.dtype(name)
    raise ValueError(f"dtype {name!r} is not known to this release, or to this ml_dtypes")


@lru_cache(maxsize=16)
def key_dtype(implementation: str) -> Any:
    """Give the dtype of random keys of an implementation.

    >>> key_dtype("rbg")
    key<rbg>

    Raises:
        ValueError: there is no such implementation.
    """
    return jax.random.key(0, impl=implementation).dtype


def _implementation(name: str, key: Any) -> str:
    implementation = jax.random.key_impl(key)
    if not isinstance(implementation, str):
        raise TypeError(
            f"{name} is a random key of an implementation without a name: save jax.random.key_data(key)"
        )
    return implementation


def describe_leaf(leaf: Any) -> str:
    """Say what a leaf is, for messages.

    >>> describe_leaf(np.ones(3)), describe_leaf(1.5), describe_leaf(jax.random.key(0))
    ('float64 (3,)', 'float 1.5', 'key<fry> ()')
    """
    if hasattr(leaf, "dtype") and hasattr(leaf, "shape"):
        return f"{leaf.dtype} {tuple(leaf.shape)}"
    if leaf is None:
        return "None"
    return f"{type(leaf).__name__} {leaf!r:.40}"


def _refusal(name: str, leaf: Any) -> str:
    kind = type(leaf)
    hint = (
        "keep it in the program and save arrays, Python's numbers, text, bytes and None"
        if callable(leaf)
        else "save what it is made of: arrays, numbers, text, bytes or None, in dicts, lists and tuples"
    )
    if isinstance(leaf, Module):
        hint = "it holds no arrays; save params and state, or save_weights(path, module, params, state)"
    elif isinstance(leaf, np.ndarray):
        hint = "write np.asarray(...), and what it holds besides"
    elif isinstance(leaf, set | frozenset):
        hint = "write sorted(...), a list"
    elif isinstance(leaf, dict):
        hint = "write dict(...)"
    elif isinstance(leaf, str | int | float):
        hint = "write str(...), int(...), float(...) or its .value, a value of Python's own"
    elif hasattr(leaf, "__fspath__"):
        hint = "write str(...)"
    return f"{name} is a {kind.__module__}.{kind.__qualname__}, which cannot be saved: {hint}"
