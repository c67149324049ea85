"""What a case is: a model, its functions, and inputs of any batch; `cases` has the list."""

import functools
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import export, nn

__all__ = [
    "BATCHES",
    "DTYPES",
    "TOLERANCE",
    "Case",
    "Function",
    "Input",
    "Model",
    "alone",
    "relative_error",
]

BATCHES = (1, 2, 3, 32)
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}
"""Of the largest difference, relative to the largest output."""


@dataclass(frozen=True)
class Input:
    """One array that a function takes: floats of the model's dtype from N(0, 1), or integers below a bound."""

    name: str
    shape: tuple[int | str, ...]
    below: int | None = None
    least: int = 0
    dtype: Any = None  # None: the model's

    def spec(self, dtype: Any) -> export.ArraySpec:
        return export.spec(self.shape, self._type(dtype), self.name)

    def draw(self, dtype: Any, batch: int, random: np.random.Generator) -> np.ndarray:
        shape = [batch if length == "batch" else length for length in self.shape]
        drawn = (
            random.standard_normal(shape, np.float32)
            if self.below is None
            else random.integers(self.least, self.below, shape)
        )
        return np.asarray(drawn).astype(self._type(dtype))

    def _type(self, dtype: Any) -> np.dtype:
        if self.dtype is not None:
            return np.dtype(self.dtype)
        return np.dtype(dtype if self.below is None else np.int32)


@dataclass(frozen=True)
class Function:
    """One function of a model: what computes it, and a tree of `Input` for each argument."""

    compute: Any
    inputs: tuple[Any, ...]
    returns_state: bool = False
    keywords: Mapping[str, Any] | None = None

    def entry(self, dtype: Any) -> export.Entry:
        specs = [_mapped(lambda leaf: leaf.spec(dtype), tree) for tree in self.inputs]
        return export.entry(
            self.compute, *specs, returns_state=self.returns_state, **(self.keywords or {})
        )


def _mapped(function: Callable[[Input], Any], tree: Any) -> Any:
    return jax.tree.map(function, tree, is_leaf=lambda node: isinstance(node, Input))


class Model:
    """A model with its arrays and functions."""

    def __init__(self, name: str, module: nn.Module, functions: dict[str, Function], dtype: Any):
        self.name, self.module, self.dtype = name, module, dtype
        self.functions = functions
        self.net = fn.functionalize(module)
        self.params, self.state = _lively(self.net.init(jax.random.key(0)), dtype)
        self._references: dict[tuple[str, int, bool], list[np.ndarray]] = {}

    @property
    def entries(self) -> dict[str, export.Entry]:
        """Each function with the specs of its inputs; the batch is left open."""
        return {name: function.entry(self.dtype) for name, function in self.functions.items()}

    def example(self, function: str, batch: int) -> tuple[Any, ...]:
        """Inputs of that batch, always the same."""
        random = np.random.default_rng(zlib.crc32(f"{self.name} {function} {batch}".encode()))
        return tuple(
            _mapped(lambda leaf: leaf.draw(self.dtype, batch, random), tree)
            for tree in self.functions[function].inputs
        )

    def _apply(self, function: str, params: Any, state: Any, inputs: tuple[Any, ...]) -> Any:
        """What is exported: the output, or a pair of it and the new state."""
        asked = self.functions[function]
        compute = getattr(asked.compute, "apply", asked.compute)
        output, state = compute(params, state, *inputs, **(asked.keywords or {}))
        return (output, state) if asked.returns_state else output

    def reference(self, function: str, batch: int, wide: bool = False) -> list[np.ndarray]:
        """What the function itself gives for the example, leaf by leaf.

        A runtime that carries 16 bits as 32 rounds less often than the function does, whose own error may be larger
        than a tolerance: ``wide`` is the function of the same numbers in 32 bits.
        """
        if (function, batch, wide) not in self._references:
            run = jax.jit(functools.partial(self._apply, function))
            given = (self.params, self.state, self.example(function, batch))
            outputs = jax.tree.leaves(run(*(_widened(given) if wide else given)))
            self._references[function, batch, wide] = [np.asarray(leaf) for leaf in outputs]
        return self._references[function, batch, wide]

    def far(self, function: str, batch: int, found: Any) -> float:
        """How far outputs are from the function's, relative to the largest number of each."""
        references = [self.reference(function, batch)]
        if self.dtype != jnp.float32:
            references.append(self.reference(function, batch, wide=True))
        return min(
            max(relative_error(*pair) for pair in zip(found, expected, strict=True))
            for expected in references
        )


def _widened(trees: Any) -> Any:
    def one(leaf: Any) -> Any:
        wide = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(np.float32) if wide else leaf

    return jax.tree.map(one, trees)


def _lively(trees: Any, dtype: Any) -> Any:
    """Give every array values that a mistake would show in: no bias of zeros, no norm of ones."""
    random = np.random.default_rng(0)

    def one(path: Any, leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        drawn = np.asarray(leaf, np.float32)
        if "running_var" in jax.tree_util.keystr(path):
            drawn = random.uniform(0.5, 2.0, leaf.shape)
        elif leaf.ndim < 2:
            drawn = drawn + 0.2 * random.standard_normal(leaf.shape)
        return jnp.asarray(drawn, dtype)

    return jax.tree_util.tree_map_with_path(one, trees)


@dataclass(frozen=True)
class Case:
    """How a model is made: a function that returns its module and its functions."""

    name: str
    make: Callable[[], tuple[nn.Module, dict[str, Function]]]
    functions: tuple[str, ...] = ("call",)

    @functools.cache  # noqa: B019 - there is one list of cases, and it stays
    def model(self, dtype: Any = jnp.float32) -> Model:
        """Build it, once for each dtype."""
        module, functions = self.make()
        assert tuple(functions) == self.functions, self.name
        return Model(self.name, module, functions, dtype)


def alone(module: nn.Module, *inputs: Input, **keywords: Any) -> tuple[nn.Module, dict]:
    """Make a module's call the only function."""
    return module, {"call": Function(fn.functionalize(module), inputs, keywords=keywords)}


def relative_error(found: Any, expected: Any) -> float:
    """Return the largest difference, relative to the largest number expected; infinite if shapes differ."""
    if np.shape(found) != np.shape(expected):
        return float("inf")
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if not expected.size:
        return 0.0
    scale = max(float(np.abs(expected).max()), 1e-6)
    worst = float(np.abs(found - expected).max())
    return worst / scale if np.isfinite(worst) else float("inf")
