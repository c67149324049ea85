"""A layer whose weights are in few bits: its arrays, its class, and how they start."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import jax
import numpy as np

from funcnet.compression.quantization.schemes import EncodedParts, Scheme
from funcnet.core.aliases import Array, Initializer
from funcnet.module import Buffer, Parameter
from funcnet.module.initial_values.recipes import KnownValues, TellsRecipe
from funcnet.module.rewriting.computed_array import ArrayReader, ComputedArray
from funcnet.module.rewriting.derived_layers import DerivedLayer, derived_layer
from funcnet.module.specs import Given, Spec

__all__ = ["Quantized", "QuantizedArray"]


class QuantizedArray(ComputedArray):
    """An array in few bits, in the place of a parameter.

    Attributes:
        scheme: how it is written.
        shape: of the array.
        dtype: of the array.
        values: and further buffers, the parts that the scheme writes.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> small, few, kept = fn.compression.quantize(model, params, state)
        >>> small[0].weight.shape, list(fn.state_dict(small, few, kept))
        ((32, 64), ['0.weight.values', '0.weight.scales', '0.bias'])
    """

    def __init__(self, scheme: Scheme, spec: Spec, dtype: Any = None) -> None:
        self.scheme = scheme
        self.shape = spec.sizes
        self.dtype = spec.dtype if dtype is None else jax.numpy.dtype(dtype)
        self.start = _start(scheme, spec)
        self.trained = spec.trained
        first: Any = None
        for name, like in scheme.shapes(self.shape, self.dtype).items():
            start = PartStart(scheme, self.start, self.shape, self.dtype.name, name)
            part: Any = Buffer(like.shape, start, like.dtype)
            part.drawn_with = first  # all parts are of one draw
            first = part if first is None else first
            setattr(self, name, part)

    @property
    def part_specs(self) -> dict[str, Any]:
        """What the scheme writes, by name."""
        return {name: vars(self)[name] for name in self.scheme.shapes(self.shape, self.dtype)}

    def compute(self, dtype: Any) -> Array:
        """Compute the array; of a stack of layers all of theirs."""
        parts = self.part_specs
        declared: Any = self._binding.description
        name = next(iter(parts))
        depth = parts[name].ndim - len(vars(declared)[name].shape)
        return decoder(self.scheme, self.shape, jax.numpy.dtype(dtype).name, depth)(parts)

    def restored(self) -> Spec:
        """Return the declared array in whose place it stands."""
        made: Any = (Parameter if self.trained else Buffer)(self.shape, self.start, self.dtype)
        return made

    def extra_repr(self) -> str:
        """Show what it stands for."""
        return f"{self.shape}, {self.dtype.name}, {self.scheme}"


class Quantized(DerivedLayer):
    """What `quantize` makes of a layer: its weights are in few bits, and read as floats.

    It is also a layer of the class it was before. Its class is made by `quantize`; this base is for ``isinstance``.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        >>> params, state = fn.functionalize(model).init(jax.random.key(0))
        >>> small, few, kept = fn.compression.quantize(model, params, state)
        >>> isinstance(small[0], fn.compression.Quantized), isinstance(small[0], nn.Linear)
        (True, True)
    """

    derived_prefix = "Quantized"

    @classmethod
    def derived_members(cls, *names: str) -> dict[str, Any]:
        """Return the descriptors of the attributes that are computed."""
        return {name: ArrayReader(name) for name in names}


def with_quantized(layer: Any, arrays: dict[str, QuantizedArray]) -> Any:
    """Return a layer with some of its arrays in few bits; the layer itself is not touched."""
    return derived_layer(Quantized, type(layer), vars(layer) | arrays, *arrays)


# ---- how parts start -----------------------------------------------------------------------------


@dataclass(frozen=True)
class PartStart:
    """The initializer of a part: what the array's own initializer draws, in few bits."""

    scheme: Scheme
    start: Initializer
    whole: tuple[int, ...]
    whole_dtype: str
    name: str

    def __call__(self, key: Any, shape: Any, dtype: Any) -> Array:
        """Draw the array, and write it."""
        drawn = self.start(key, self.whole, jax.numpy.dtype(self.whole_dtype))
        return self.scheme.encode(drawn)[self.name].astype(dtype)


@dataclass(frozen=True, eq=False)
class Decoded:
    """The initializer of an array that was given, kept in few bits."""

    scheme: Scheme
    parts: EncodedParts
    shape: tuple[int, ...]

    def __call__(self, key: Any, shape: Any, dtype: Any) -> Array:
        """Read the array."""
        return self.scheme.decode(self.parts, self.shape, dtype)


def _start(scheme: Scheme, spec: Spec) -> Initializer:
    """Return how the array starts; one that was given is kept in few bits alone."""
    if not _given(spec):
        return spec.init
    array = spec.init(jax.random.key(0), spec.sizes, spec.dtype)
    return Decoded(scheme, encoder(scheme)(array), spec.sizes)


def _given(spec: Spec) -> bool:
    """Say whether an initializer holds a whole array."""
    if isinstance(spec.init, Given):
        return True
    recipe = (
        spec.init.recipe(spec.sizes, spec.dtype) if isinstance(spec.init, TellsRecipe) else None
    )
    return isinstance(recipe, KnownValues) and np.size(recipe.values) > 1


@cache
def encoder(scheme: Scheme, depth: int = 0) -> Callable[[Array], EncodedParts]:
    """Compile a scheme's encoding, of arrays with so many leading axes that stacking adds."""
    return jax.jit(_mapped(scheme.encode, depth))


@cache
def decoder(
    scheme: Scheme, shape: tuple[int, ...], dtype: str, depth: int = 0
) -> Callable[[EncodedParts], Array]:
    """Return a scheme's decoding, of parts with so many leading axes that stacking adds."""
    return _mapped(partial(scheme.decode, shape=shape, dtype=dtype), depth)


def _mapped(fun: Any, depth: int) -> Any:
    for _ in range(depth):
        fun = jax.vmap(fun)
    return fun
