"""StoredLeaf: a leaf of a tree that lies in a file, and what it is to become."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.checkpoint.trees.leaves import key_dtype, named_dtype
from funcnet.checkpoint.trees.pieced_array import PiecedArray

__all__ = ["StoredLeaf"]

_KINDS = ("jax", "weak", "numpy", "number", "key")


class StoredLeaf:
    """An array, number or random key in a file, not read yet.

    Args:
        source: its numbers.
        note: what `to_storage` wrote about it.

    Raises:
        ValueError: the note contradicts the numbers.
    """

    def __init__(self, source: PiecedArray, note: dict[str, Any]) -> None:
        self.source, self.kind = source, note["kind"]
        self.impl: str = str(note.get("impl", ""))
        self._view = named_dtype(str(note["dtype"])) if "dtype" in note else None
        self._inner = 1 if self.kind == "key" or self._view == np.complex128 else 0
        self.shape = source.shape[: len(source.shape) - self._inner]
        self.dtype: Any = (
            key_dtype(self.impl)
            if self.kind == "key"
            else self._view or source.dtype.newbyteorder("=")
        )
        self._check()

    def _check(self) -> None:
        bytes_of_one = self.source.dtype.itemsize
        if self._inner:
            bytes_of_one *= self.source.shape[-1] if self.source.shape else 0
        ill = self.kind not in _KINDS or (
            self._view is not None and self._view.itemsize != bytes_of_one
        )
        if self.kind == "key":
            ill = (
                jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct((), self.dtype)).shape
                != (self.source.shape[-1:])
                or self.source.dtype != np.uint32
            )
        if ill:
            raise ValueError(f"{self.source.name} is damaged: it does not hold {self.dtype}")

    def host(self, index: tuple[slice, ...] | None = None, dtype: Any = None) -> np.ndarray:
        """Copy its numbers, or a block of them, to host memory; of keys, the numbers that they are made of.

        Args:
            index: a slice for each axis, of step one; everything without it.
            dtype: to cast to.

        Raises:
            ValueError: the bytes are damaged, or an integer is out of the range of ``dtype``.
        """
        if index is None:
            array = self.source.read()
        else:
            array = self.source.part((*index, *[slice(None)] * self._inner))
        if self._view is not None:
            array = (
                array.reshape(-1).view(self._view).reshape(array.shape[: array.ndim - self._inner])
            )
        return array if dtype is None or dtype == array.dtype else self._cast(array, dtype)

    def _cast(self, array: np.ndarray, dtype: Any) -> np.ndarray:
        cast = array.astype(dtype)
        if array.dtype.kind in "iu" and not np.array_equal(cast.astype(array.dtype), array):
            raise ValueError(
                f"{self.source.name} holds integers that {np.dtype(dtype)} does not: load it as {array.dtype}"
            )
        return cast

    def made(self, host: np.ndarray) -> Any:
        """Make of its numbers what it was when it was saved.

        Raises:
            ValueError: JAX was told to use 64 bits when it was saved, and is not now.
        """
        if self.kind == "numpy":
            return host
        if self.kind == "number":
            return host[()]
        return self.on_device(host, weak=self.kind == "weak")

    def on_device(self, host: np.ndarray, weak: bool = False) -> Any:
        """Put numbers that were read on the default device, as an array or as random keys."""
        if self.kind == "key":
            return jax.random.wrap_key_data(jnp.asarray(host), impl=self.impl)
        self.require_width(host.dtype)
        if not weak:
            return jnp.asarray(host)
        kept = jnp.full(host.shape, host.dtype.type(0).item())  # weak, as Python's numbers are
        return kept.at[...].set(host) if kept.dtype == host.dtype else jnp.asarray(host)

    def require_width(self, dtype: Any) -> None:
        """Raise ``ValueError`` if JAX would make the numbers narrower than they are."""
        narrow = jax.dtypes.canonicalize_dtype(dtype)
        if narrow != dtype:
            raise ValueError(
                f"{self.source.name} is a JAX array of {dtype}, which JAX would make {narrow} here: call "
                'jax.config.update("jax_enable_x64", True) first, or load it into a template of NumPy arrays, or '
                'with dtype="like" into one of narrower arrays'
            )

    def spread(self, sharding: Any, dtype: Any = None) -> Any:
        """Read it into an array that lies as a sharding says: each device gets its own part alone.

        Args:
            sharding: of the array to make.
            dtype: to cast to.
        """

        def block(index: tuple[slice, ...]) -> Any:
            # arrays of no axes are asked for by an empty index
            part = self.host(index, dtype)
            if self.kind == "key":
                return jax.random.wrap_key_data(jnp.asarray(part), impl=self.impl)
            return part

        if self.kind != "key":
            self.require_width(np.dtype(dtype) if dtype is not None else self.dtype)
        make: Callable[..., Any] = jax.make_array_from_callback
        return make(self.shape, sharding, block)
