"""The inputs of a row: drawn from its name, taken apart for jit, and put together again."""

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from tests.parity.table import Row

Maker = Callable[[np.random.Generator], np.ndarray]


def ints(shape: tuple[int, ...], high: int, low: int = 0) -> Maker:
    """An integer input."""
    return lambda rng: rng.integers(low, high, shape)


def bools(shape: tuple[int, ...], chance: float = 0.5) -> Maker:
    """A boolean input, True with the given chance."""
    return lambda rng: rng.random(shape) < chance


def uniform(shape: tuple[int, ...], low: float = 0.0, high: float = 1.0) -> Maker:
    """A float input between two numbers."""
    return lambda rng: rng.uniform(low, high, shape)


def values(array: Any) -> Maker:
    """An input given by its values."""
    return lambda rng: np.asarray(array)


def seed_of(row: "Row") -> int:
    """A number that belongs to the row's name: a row added elsewhere changes no other's inputs."""
    return zlib.crc32(str(row).encode())


def arrays(row: "Row", step: int) -> tuple[list[Any], dict[str, Any]]:
    """The positional and keyword inputs of a step."""
    rng = np.random.default_rng([seed_of(row), step])

    def make(item: Any) -> Any:
        if isinstance(item, tuple) and all(isinstance(n, int) for n in item):
            return rng.standard_normal(item)
        if isinstance(item, list):
            return [make(part) for part in item]
        if isinstance(item, tuple):
            return tuple(make(part) for part in item)
        return item(rng) if callable(item) else item

    return [make(item) for item in row.inputs], {k: make(v) for k, v in row.call.items()}


def split(row: "Row", step: int) -> tuple[list[Any], list[Any]]:
    """The array inputs of a step: those that are not floats, and the floats."""
    leaves = [x for x in flat(arrays(row, step)) if is_array(x)]
    others = [jnp.asarray(x) for x in leaves if not is_float(x)]
    return others, [jnp.asarray(x) for x in leaves if is_float(x)]


def merge(row: "Row", others: list[Any], floats: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Put (traced) arrays back where the row's inputs have them."""
    rest, reals = iter(others), iter(floats)

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: fill(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(fill(v) for v in value)
        if is_array(value):
            return next(reals) if is_float(value) else next(rest)
        return value

    inputs, call = fill(list(arrays(row, 0)))
    return inputs, call


def is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, jax.Array))


def is_float(value: Any) -> bool:
    return is_array(value) and jnp.issubdtype(value.dtype, jnp.inexact)


def flat(value: Any) -> list[Any]:
    """The leaves of nested inputs of either library, in order."""
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in flat(part)]
    if isinstance(value, (list, tuple)):
        return [leaf for part in value for leaf in flat(part)]
    return [value]


def outputs_of(value: Any) -> list[Any]:
    """Flatten nested outputs of either library; None is left out."""
    return [leaf for leaf in flat(value) if leaf is not None]


def cast(tree: Any, dtype: Any) -> Any:
    """The floats of a tree in another dtype."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if is_float(x) else x, tree)


def weights(shape: tuple[int, ...]) -> np.ndarray:
    """Fixed, uneven cotangents, so that no gradient cancels."""
    return np.cos(np.arange(int(np.prod(shape)), dtype=np.float64) * 0.7 + 0.3).reshape(shape)
