"""A function of a model as exporters see it: named weights and inputs in, named outputs out, all in lists."""

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Params, PyTree, State
from funcnet.core.errors import ExportError, MissingKeyError
from funcnet.core.jax_internals.programs import Program, trace
from funcnet.core.paths import leaves_with_paths, map_with_path
from funcnet.export.lengths import evaluate_length, fitting_length, symbols_of
from funcnet.export.specs import ArraySpec, Entry, check_trees

__all__ = ["FlatFunction", "flatten_entry", "plain_arrays", "structs"]


_KEY = """
In an exported function the key is an input, as its numbers:
    def call(params, state, x, numbers):
        return net.apply(params, state, x, train=True, key=jax.random.wrap_key_data(numbers))
with spec((2,), jnp.uint32) for the numbers, which jax.random.key_data(key) gives. To predict, leave train=True out"""


@dataclass(frozen=True)
class FlatFunction:
    """A function on lists of arrays.

    Attributes:
        call: ``(weights, inputs) -> outputs``, lists in the order of what follows.
        weights: the arrays of params and state by dotted path, in order: params first.
        inputs: one named `ArraySpec` an array.
        outputs: likewise; of arrays of the new state, if it is returned, the name begins with ``state.``.
        symbols: the names of open lengths, in order of appearance.
        trainable: how many of the weights are params.
        weights_tree: of ``(params, state)``.
        inputs_tree: of the tuple of inputs.
        outputs_tree: of what the function returns: an output, or ``(output, state)``.
    """

    call: Callable[[Sequence[Any], Sequence[Any]], list[Any]]
    weights: dict[str, Any]
    inputs: tuple[ArraySpec, ...]
    outputs: tuple[ArraySpec, ...]
    symbols: tuple[str, ...]
    trainable: int
    weights_tree: Any
    inputs_tree: Any
    outputs_tree: Any

    def arguments(self, sizes: Mapping[str, int] | None = None) -> tuple[list[Any], list[Any]]:
        """Give the shapes and dtypes of weights and inputs, as `jax.ShapeDtypeStruct`.

        Args:
            sizes: a number for each symbol; without it open lengths stay symbolic (`jax.export.symbolic_shape`).
        """
        weights = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in self.weights.values()]
        return weights, structs(self.inputs, sizes)

    def trace(self, sizes: Mapping[str, int] | None = None) -> Program:
        """Trace it: the program's arguments are all weights, then all inputs."""
        weights, inputs = self.arguments(sizes)

        def flat(*arrays: Any) -> list[Any]:
            return self.call(arrays[: len(weights)], arrays[len(weights) :])

        program, _ = trace(flat, *weights, *inputs)
        return program


def structs(specs: Sequence[ArraySpec], sizes: Mapping[str, int] | None = None) -> list[Any]:
    """Shapes of specs, with their open lengths symbolic in one scope, or replaced by numbers; in JAX's dtypes."""
    scope = jax.export.SymbolicScope()
    kept = [jax.dtypes.canonicalize_dtype(each.dtype) for each in specs]
    shapes = [_shape(each, sizes, scope) for each in specs]
    return [jax.ShapeDtypeStruct(*both) for both in zip(shapes, kept, strict=True)]


def _shape(each: ArraySpec, sizes: Mapping[str, int] | None, scope: Any) -> tuple[Any, ...]:
    if sizes is not None:
        return tuple(evaluate_length(length, sizes) for length in each.shape)
    if not each.symbols:
        return each.shape
    return tuple(jax.export.symbolic_shape(", ".join(map(str, each.shape)), scope=scope))


def flatten_entry(
    entry: Entry, params: Params, state: State, sizes: Sequence[Mapping[str, int]] | None = None
) -> FlatFunction:
    """Make a function of lists out of one of trees.

    Args:
        entry: of trees.
        params: as from ``net.init``.
        state: likewise.
        sizes: numbers of the open lengths at which it is traced, where it cannot be with symbols.

    Raises:
        TypeError: the arrays or inputs are not those of the function, or it returns no pair.
        ValueError: two inputs are given one name.
        MissingKeyError: a layer draws random numbers, and the function has no key.
    """
    check_trees(params, state)
    _check_arguments(entry, params, state)
    weights, weights_tree = jax.tree.flatten(plain_arrays((params, state)))
    names = [path for path, _ in leaves_with_paths(params)]
    names += [path for path, _ in leaves_with_paths(state)]
    specs, inputs_tree = jax.tree.flatten(entry.inputs)
    inputs = _named(entry, specs)
    trees: list[Any] = []

    def call(arrays: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        own_params, own_state = jax.tree.unflatten(weights_tree, arrays)
        arguments = jax.tree.unflatten(inputs_tree, values)
        if entry.preprocess is not None:
            made = entry.preprocess(*arguments)
            arguments = made if isinstance(made, tuple) else (made,)
        pair = _pair(entry.function(own_params, own_state, *arguments, **entry.keywords))
        result = pair if entry.returns_state else pair[0]
        leaves, tree = jax.tree.flatten(result)
        trees[:] = [tree]
        return [jnp.asarray(leaf) for leaf in leaves]

    _check_names(names)
    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in weights]
    try:
        results = [jax.eval_shape(call, shapes, structs(inputs, each)) for each in sizes or [None]]
    except MissingKeyError as error:
        raise MissingKeyError(f"{error}{_KEY}") from None
    lengths = _open_lengths(results[0]) if sizes is None else _fitting(sizes, results)
    outputs = _outputs(trees[0], results[0], lengths, entry.returns_state)
    return FlatFunction(
        call=call,
        weights=dict(zip(names, weights, strict=True)),
        inputs=inputs,
        outputs=outputs,
        symbols=tuple(symbols_of([length for each in inputs for length in each.shape])),
        trainable=len(jax.tree.leaves(params)),
        weights_tree=weights_tree,
        inputs_tree=inputs_tree,
        outputs_tree=trees[0],
    )


def _check_arguments(entry: Entry, params: Params, state: State) -> None:
    """Say so if a function cannot be called as exporters call it, which its own error would not explain."""
    if entry.preprocess is not None or not inspect.isroutine(entry.function):
        return  # what the first returns is not known yet, and modules have errors of their own
    signature = inspect.signature(entry.function)
    try:
        signature.bind(params, state, *entry.inputs, **entry.keywords)
    except TypeError as error:
        raise TypeError(
            f"{entry.function.__qualname__}{signature} cannot be called as (params, state, *inputs): {error}. "
            "Give a Functional (fn.functionalize(model), fn.functionalize(model.method)), or a function such as "
            "lambda params, state, x: (output, state)"
        ) from None


def _pair(result: Any) -> tuple[Any, Any]:
    """Take what a function returned as output and state; an array of two rows is no pair."""
    if not isinstance(result, tuple) or len(result) != 2:
        count = f" of {len(result)}" if isinstance(result, tuple) else ""
        raise TypeError(
            "an exported function returns (output, state), the state as it came if nothing changes it; got "
            f"{'an array' if isinstance(result, jax.Array) else type(result).__name__}{count}"
        )
    return result


def plain_arrays(tree: PyTree) -> PyTree:
    """Make arrays, of the dtypes that JAX would give them, of all leaves; arrays on a device stay there.

    Raises:
        TypeError: a leaf is no array, or is a random key.
    """
    return map_with_path(_plain_array, tree)


def _plain_array(path: str, leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
        raise TypeError(f"{path} is a {type(leaf).__name__}, not an array")
    if jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key):
        raise TypeError(f"{path} is a random key; keep its numbers: jax.random.key_data(key)")
    return leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)


def _check_names(names: Sequence[str]) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"two arrays of params and state are called {', '.join(twice)}")


def _named(entry: Entry, specs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
    """Give each input a name: its own, else its path in the arguments."""
    arguments = _argument_names(entry)
    paths = []
    for position, tree in enumerate(entry.inputs):
        for path, _ in leaves_with_paths(tree):
            paths.append(".".join(filter(None, (arguments[position], path))))
    named = tuple(
        ArraySpec(each.shape, each.dtype, each.name or path)
        for each, path in zip(specs, paths, strict=True)
    )
    counts = Counter(str(each.name) for each in named)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise ValueError(
            f"two inputs are called {', '.join(twice)}: give each spec a name of its own"
        )
    return named


def _argument_names(entry: Entry) -> list[str]:
    """Find what the function, or the module's call, names its inputs."""
    function = entry.preprocess or entry.function
    skipped = 0 if entry.preprocess else 2
    owner = getattr(inspect.unwrap(function), "__self__", None)
    module, method = getattr(owner, "module", None), getattr(owner, "method", None)
    if module is not None and method is not None and not entry.preprocess:
        function, skipped = getattr(type(module), method), 1
    try:
        parameters = list(inspect.signature(function).parameters.values())[skipped:]
    except (TypeError, ValueError):
        parameters = []
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    count = len(entry.inputs)
    return [*known[:count], *(f"input_{i}" for i in range(len(known), count))]


def _outputs(
    tree: PyTree, results: Sequence[Any], lengths: Sequence[Any], returns_state: bool
) -> tuple[ArraySpec, ...]:
    """Name the outputs by their paths."""
    numbered = jax.tree.unflatten(tree, list(results))
    if returns_state:
        output, state = numbered
        paths = [("output" + (f".{path}" if path else "")) for path, _ in leaves_with_paths(output)]
        paths += [f"state.{path}" for path, _ in leaves_with_paths(state)]
    else:
        paths = [path or "output" for path, _ in leaves_with_paths(numbered)]
        paths = [f"output_{path}" if path[:1].isdigit() else path for path in paths]
    return tuple(
        ArraySpec(tuple(shape), each.dtype, path)
        for shape, each, path in zip(lengths, results, paths, strict=True)
    )


def _open_lengths(results: Sequence[Any]) -> list[tuple[int | str, ...]]:
    return [tuple(n if isinstance(n, int) else str(n) for n in each.shape) for each in results]


def _fitting(
    sizes: Sequence[Mapping[str, int]], results: Sequence[Sequence[Any]]
) -> list[tuple[int | str, ...]]:
    """Work out the outputs' lengths from those at some sizes."""
    return [
        tuple(
            _fitting_axis(sizes, lengths)
            for lengths in zip(*(a.shape for a in arrays), strict=True)
        )
        for arrays in zip(*results, strict=True)
    ]


def _fitting_axis(sizes: Sequence[Mapping[str, int]], lengths: Sequence[int]) -> int | str:
    found = fitting_length(list(zip(sizes, lengths, strict=True)))
    if found is None:
        raise ExportError(
            f"an output has lengths {list(lengths)} at {[dict(each) for each in sizes]}, and no rule fits them: export "
            "each size as a function of its own, with fixed lengths"
        )
    return found
