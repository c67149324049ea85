"""What a function is exported for: the shapes, dtypes and names of its inputs."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import DType, Params, PyTree, State
from funcnet.export.lengths import evaluate_length, symbols_of
from funcnet.module import Functional

__all__ = ["Entry", "ArraySpec", "entry", "spec"]

_HYPHEN = re.compile(r"[A-Za-z_]\w*(-[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class ArraySpec:
    """One array of an exported function.

    Attributes:
        shape: lengths of axes; a name stands for a length that is left open, such as ``"batch"``.
        dtype: of its numbers.
        name: what it is called in the file; None where a better one follows from the function.

    Example:
        >>> spec = fn.export.spec(("batch", 3), name="pixels")
        >>> isinstance(spec, fn.export.ArraySpec), spec.shape, spec.name
        (True, ('batch', 3), 'pixels')
    """

    shape: tuple[int | str, ...]
    dtype: Any
    name: str | None = None

    @property
    def symbols(self) -> bool:
        """Whether a length is left open."""
        return any(isinstance(length, str) for length in self.shape)

    def __str__(self) -> str:
        """Spell it as messages do: ``float32[batch, 3]``."""
        return f"{jnp.dtype(self.dtype).name}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Entry:
    """A function of a model, ready to be exported; made by `entry`.

    Attributes:
        function: ``(params, state, *inputs, **keywords) -> (output, state)``.
        inputs: one pytree of `ArraySpec` an input.
        keywords: static arguments, such as ``train``.
        preprocess: what is done with the inputs first; they are what it takes.
        returns_state: whether the new state is an output too.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> entry = fn.export.entry(net, fn.export.spec(("batch", 3)))
        >>> entry.inputs[0].shape, entry.returns_state
        (('batch', 3), False)
    """

    function: Callable[..., tuple[Any, State]]
    inputs: tuple[PyTree, ...]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    preprocess: Callable[..., Any] | None = None
    returns_state: bool = False

    @property
    def symbols(self) -> list[str]:
        """The names of the lengths that its inputs leave open, in order."""
        return symbols_of(
            [length for each in jax.tree.leaves(self.inputs) for length in each.shape]
        )


def spec(
    shape: Sequence[int | str], dtype: DType = jnp.float32, name: str | None = None
) -> ArraySpec:
    """Describe an input.

    Args:
        shape: lengths of axes; names stand for lengths that are left open and agree wherever they are used:
            ``("batch", 1, 28, 28)``. Sums and products of them are lengths too: ``"2*batch"``, ``"time + 1"``.
        dtype: of its numbers.
        name: what it is called in the file; without one, what the function calls it.

    Returns:
        The description.

    Raises:
        TypeError: a length is neither a number nor a text.
        ValueError: it is negative, or no name and no sum or product of names.

    Example:
        >>> print(fn.export.spec(("batch", 1, 28, 28)))
        float32[batch, 1, 28, 28]
    """
    lengths = (shape,) if isinstance(shape, int | str) else tuple(shape)
    for length in lengths:
        if isinstance(length, bool) or not isinstance(length, int | str):
            raise TypeError(f"a length is a number or a name, got {length!r} in shape {lengths}")
        if isinstance(length, int) and length < 0:
            raise ValueError(f"a length cannot be negative: shape {lengths}")
        if isinstance(length, str):
            _check_length(length)
    return ArraySpec(lengths, jnp.dtype(dtype), name)


def _check_length(length: str) -> None:
    """Refuse a text that is no length, and names with a hyphen, which would be read as a difference."""
    if _HYPHEN.fullmatch(length):
        raise ValueError(
            f"{length!r} would be a difference of two lengths: write {length.replace('-', '_')!r} for a name, "
            f"{length.replace('-', ' - ')!r} for the difference"
        )
    evaluate_length(length, dict.fromkeys(symbols_of([length]), 1))


def described_array(value: Any) -> ArraySpec:
    """Take an array, or its shape, as a description without open lengths, of the dtype that JAX would give it."""
    if isinstance(value, ArraySpec):
        return value
    if not hasattr(value, "shape"):
        if not isinstance(value, bool | int | float | complex):
            raise TypeError(
                "a shape alone is no input: write export.spec(('batch', 3)), or pass an example array; got "
                f"{value!r}, a {type(value).__name__}"
            )
        value = jnp.asarray(value)
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        raise TypeError(
            "a random key is described by its numbers: write spec((2,), jnp.uint32, 'key') and make it in "
            "preprocess, with jax.random.wrap_key_data"
        )
    return ArraySpec(tuple(value.shape), jax.dtypes.canonicalize_dtype(value.dtype))


def entry(
    function: Functional | Callable[..., tuple[Any, State]],
    *inputs: PyTree,
    preprocess: Callable[..., Any] | None = None,
    returns_state: bool = False,
    **keywords: Any,
) -> Entry:
    """Describe one of several functions of a model that are exported together.

    Args:
        function: a Functional (``fn.functionalize(model.decode)``), or any
            ``(params, state, *inputs) -> (output, state)``.
        *inputs: for each input a `spec`, or an example array (or its shape) whose lengths are fixed; or trees of
            them.
        preprocess: a pure function that is applied to the inputs first, and returns the function's own (several in a
            tuple); it is part of the program.
        returns_state: whether the new state is an output as well.
        **keywords: static arguments of the function, such as ``train=True``.

    Returns:
        The description that `save` and the other exporters take.

    Example:
        >>> net = fn.functionalize(nn.Linear(3, 2))
        >>> fn.export.entry(net, fn.export.spec(("batch", 3))).inputs[0].shape
        ('batch', 3)
    """
    call = function.apply if isinstance(function, Functional) else function
    if not callable(call):
        raise TypeError(
            "entry takes a Functional, or a function (params, state, *inputs) -> (output, state); got "
            f"{type(function).__name__}"
        )
    for tree in inputs:
        if isinstance(tree, tuple | list) and tree and all(type(n) in (int, str) for n in tree):
            raise TypeError(f"{tree!r} is a shape: describe the input by export.spec({tree!r})")
    described = tuple(jax.tree.map(described_array, tree) for tree in inputs)
    return Entry(call, described, keywords, preprocess, returns_state)


def entries(
    net: Any,
    inputs: Sequence[PyTree],
    name: str = "call",
    preprocess: Callable[..., Any] | None = None,
    returns_state: bool = False,
    **keywords: Any,
) -> dict[str, Entry]:
    """Read the first arguments of every exporter: one function and its inputs, or a dict of entries.

    Raises:
        TypeError: both were given, or what is exported is neither.
    """
    if not isinstance(net, Mapping | Entry):
        made = entry(net, *inputs, preprocess=preprocess, returns_state=returns_state, **keywords)
        return {name: made}
    if inputs or keywords or preprocess is not None or returns_state:
        raise TypeError(
            "the inputs and settings of described functions stand in their entries: "
            "{'encode': export.entry(net, spec, returns_state=True), ...}"
        )
    if isinstance(net, Entry):
        return {name: net}
    wrong = [key for key, value in net.items() if not isinstance(value, Entry)]
    if wrong or not net:
        raise TypeError(f"several functions are given as a dict of export.entry(...); see {wrong}")
    return dict(net)


def check_trees(params: Params, state: State) -> None:
    """Say so if a model's arrays are not given as params and state."""
    for what, tree in (("params", params), ("state", state)):
        if not isinstance(tree, Mapping):
            raise TypeError(
                f"expected the model's {what}, nested dicts of arrays, before the inputs; got {type(tree).__name__}. "
                "A model without buffers has the state {}"
            )
