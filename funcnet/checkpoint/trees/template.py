"""What a template asks of the leaves of a file: the same shape, dtype and kind, or the difference in words."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.checkpoint.trees.leaves import describe_leaf, native_dtype, require_array
from funcnet.checkpoint.trees.stored_leaf import StoredLeaf
from funcnet.checkpoint.trees.values import is_value

__all__ = ["Maker", "cast_floats", "fit_leaf"]


class Maker(NamedTuple):
    """How to make a leaf.

    Attributes:
        place: takes what was read. It is called in the caller's thread, where JAX's settings are the caller's.
        read: reads numbers into host memory, in any thread; None where ``place`` needs none.
    """

    place: Callable[[Any], Any]
    read: Callable[[], Any] | None = None


def fit_leaf(name: str, like: Any, stored: Any, dtype: Any) -> Maker | str:
    """Meet a leaf of the template with the leaf of its name in the file.

    Args:
        name: of both.
        like: the template's leaf: an array, a shape with a dtype (`jax.ShapeDtypeStruct`), or a value.
        stored: a `StoredLeaf`, or a value of Python's.
        dtype: see `checkpoint.load`.

    Returns:
        How to make the leaf, or what does not fit, in words.

    Raises:
        TypeError: a leaf of the template is nothing that could have been saved.
    """
    if is_value(like):
        return _fit_value(like, stored)
    if not isinstance(like, jax.ShapeDtypeStruct):
        require_array(f"{name} of the template", like)
    if not isinstance(stored, StoredLeaf):
        return _fit_number(like, stored)
    difference = f"{_described(like)} in the template, {_described(stored)} in the file"
    wanted = native_dtype(like.dtype)
    if isinstance(dtype, np.dtype):
        wanted = cast_floats(stored, dtype) or wanted
    castable = dtype is not None and _same_kind(stored.dtype, wanted)
    if tuple(like.shape) != stored.shape or not (stored.dtype == wanted or castable):
        hint = ': dtype="like" casts it' if _could_cast(like, stored) else ""
        return difference + hint
    return _made_like(like, stored, None if stored.kind == "key" else wanted)


def cast_floats(stored: StoredLeaf, dtype: Any) -> Any:
    """Give the dtype to cast a leaf to where floats are to become ``dtype``; None for other leaves."""
    return dtype if _is(stored.dtype, np.floating) else None


def _described(leaf: Any) -> str:
    return f"{leaf.dtype} {tuple(leaf.shape)}"


def _is(dtype: Any, kind: Any) -> bool:
    return bool(jnp.issubdtype(dtype, kind))


def _same_kind(a: Any, b: Any) -> bool:
    if _is(a, jax.dtypes.prng_key) or _is(b, jax.dtypes.prng_key):
        return a == b
    return any(
        _is(a, kind) and _is(b, kind)
        for kind in (np.floating, np.integer, np.complexfloating, np.bool_)
    )


def _could_cast(like: Any, stored: StoredLeaf) -> bool:
    return tuple(like.shape) == stored.shape and _same_kind(stored.dtype, like.dtype)


def _fit_value(like: Any, stored: Any) -> Maker | str:
    """Meet a value of Python's: the same type, or an array that is one number of that kind."""
    if isinstance(stored, StoredLeaf):
        kinds = {bool: np.bool_, int: np.integer, float: np.floating, complex: np.complexfloating}
        kind = kinds.get(type(like))
        if kind is not None and stored.shape == () and _is(stored.dtype, kind):
            return Maker(np.ndarray.item, stored.host)
        return f"{describe_leaf(like)} in the template, {_described(stored)} in the file"
    if type(like) is not type(stored):
        return f"{describe_leaf(like)} in the template, {describe_leaf(stored)} in the file"
    return Maker(lambda _: stored)


def _fit_number(like: Any, stored: Any) -> Maker | str:
    """Meet an array with a value of Python's: one number of the same kind, that the dtype holds."""
    difference = f"{_described(like)} in the template, {describe_leaf(stored)} in the file"
    if type(stored) not in (bool, int, float, complex) or tuple(like.shape):
        return difference
    if not _same_kind(np.asarray(stored).dtype, like.dtype):
        return difference
    try:
        host = np.asarray(stored, native_dtype(like.dtype))
    except OverflowError:
        return difference
    if isinstance(like, np.generic):
        return Maker(lambda _: host[()])
    if isinstance(like, np.ndarray):
        return Maker(lambda _: host)
    return Maker(lambda _: jax.device_put(host, _sharding(like)))


def _sharding(like: Any) -> Any:
    """Find where the template wants an array: None where it does not say, as for arrays that JAX may move."""
    if isinstance(like, jax.Array) and not like.committed:
        return None
    return like.sharding


def _made_like(like: Any, stored: StoredLeaf, dtype: Any) -> Maker:
    def read() -> np.ndarray:
        return stored.host(dtype=dtype)

    if isinstance(like, np.generic):
        return Maker(lambda host: host[()], read)
    if isinstance(like, np.ndarray):
        return Maker(lambda host: host, read)
    sharding, weak = _sharding(like), bool(getattr(like, "weak_type", False))
    if sharding is None:
        return Maker(lambda host: stored.on_device(host, weak), read)
    if len(sharding.device_set) > 1 or not sharding.is_fully_addressable:
        return Maker(lambda _: stored.spread(sharding, dtype))
    return Maker(lambda host: jax.device_put(stored.on_device(host, weak), sharding), read)
