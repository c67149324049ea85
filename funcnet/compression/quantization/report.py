"""What few bits cost: by layer, the error of the weight and of the output, and bytes; and which layers mind most."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.compression.quantization.calibrate import call_arguments, check_several
from funcnet.compression.quantization.fake import QUANTIZABLE, FakeQuantized
from funcnet.compression.quantization.quantized import QuantizedArray, decoder, encoder
from funcnet.compression.quantization.schemes import Scheme
from funcnet.core.aliases import Array, Params, State
from funcnet.core.files import readable_bytes
from funcnet.core.paths import join
from funcnet.module import Module
from funcnet.module.binding.bind import describe
from funcnet.module.description import layout_of
from funcnet.module.functionalize import functionalize
from funcnet.module.observe import capture
from funcnet.module.rewriting.parts import arrays_by_path, chosen_layers, trees_of
from funcnet.module.summaries.text_table import html_table, text_table

__all__ = ["Costs", "LayerCost", "quantization_report", "sensitivity"]

Model = tuple[Any, Params, State]


@dataclass(frozen=True)
class LayerCost:
    """What few bits cost one layer.

    Attributes:
        path: dotted.
        scheme: how its weight is written.
        weight_error: the norm of the weight's error over the norm of the weight.
        noise: decibels by which what the layer returns is stronger than its error; None if it was not asked for.
        bytes: of the layer's arrays in few bits; ``bytes_before`` without.
        loss: of the model with this layer's weight in few bits alone; ``loss_before`` without.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> whole = (model, *fn.functionalize(model).init(jax.random.key(0)))
        >>> cost = fn.compression.quantization_report(whole, fn.compression.quantize(*whole))["0"]
        >>> cost.path, cost.scheme, cost.weight_error < 0.01, cost.bytes_before, cost.bytes
        ('0', 'Int8()', True, 8320, 2304)
    """

    path: str
    scheme: str
    weight_error: float | None = None
    noise: float | None = None
    bytes: int | None = None
    bytes_before: int | None = None
    loss: float | None = None
    loss_before: float | None = None


@dataclass(frozen=True)
class Costs:
    """A table of layers: text when printed, HTML in a notebook.

    Attributes:
        rows: one for each layer.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> whole = (model, *fn.functionalize(model).init(jax.random.key(0)))
        >>> costs = fn.compression.quantization_report(whole, fn.compression.quantize(*whole))
        >>> [(row.path, row.bytes_before, row.bytes) for row in costs.rows]
        [('0', 8320, 2304), ('2', 1320, 400)]
    """

    rows: tuple[LayerCost, ...]

    def __getitem__(self, path: str) -> LayerCost:
        """Return the row of a layer."""
        for row in self.rows:
            if row.path == path:
                return row
        raise KeyError(f"{path!r} is none of {', '.join(row.path for row in self.rows)}")

    def _table(self) -> list[tuple[str, ...]]:
        columns: dict[str, Callable[[LayerCost], str]] = {
            "layer": lambda row: row.path or "(the model)",
            "weight": lambda row: row.scheme,
            "weight's error": lambda row: _percent(row.weight_error),
            "signal to noise": lambda row: "" if row.noise is None else f"{row.noise:.1f} dB",
            "bytes": lambda row: "" if row.bytes is None else readable_bytes(row.bytes),
            "of": lambda row: "" if row.bytes_before is None else readable_bytes(row.bytes_before),
            "loss": lambda row: "" if row.loss is None else f"{row.loss:.5f}",
            "worse by": lambda row: _worse(row),
        }
        cells = {head: [cell(row) for row in self.rows] for head, cell in columns.items()}
        shown = {head: column for head, column in cells.items() if any(column)}
        return [tuple(shown), *zip(*shown.values(), strict=True)]

    def __str__(self) -> str:
        """Lay the table out as text."""
        heads, *rows = self._table()
        return text_table(heads, rows, heads[2:])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        heads, *rows = self._table()
        return html_table(heads, rows)


def quantization_report(
    before: Model,
    after: Model,
    batches: Iterable[Any] = (),
    *,
    inputs: Callable[[Any], Any] | None = None,
) -> Costs:
    """Tell, layer by layer, what few bits cost: the weight's error, bytes, and how far outputs are off.

    The output's error is what has added up until there: each layer of the second model is given what that model's
    earlier layers return.

    Args:
        before: ``(module, params, state)`` in floats.
        after: what `quantize`, `quantize_dynamic`, `fake_quantize` or `convert` made of it.
        batches: for the errors of outputs.
        inputs: makes a call's arguments of a batch, as a tuple or the only one; by default a batch that is a tuple
            holds the arguments, and any other is the only one.

    Returns:
        A table with a row for each layer whose weight is in few bits; of a stack, one for all its layers.

    Raises:
        ValueError: the second model has no such layer, or a layer that the first has not.
        ParameterTreeError: trees are not those of their module.

    Example:
        >>> model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        >>> whole = (model, *fn.functionalize(model).init(jax.random.key(0)))
        >>> costs = fn.compression.quantization_report(whole, fn.compression.quantize(*whole), [jnp.ones((2, 64))])
        >>> costs["0"].weight_error < 0.01, costs["0"].noise > 30, costs["0"].bytes, costs["0"].bytes_before
        (True, True, 2304, 8320)
    """
    old, new = (describe(_checked(*pair)[0]) for pair in (("before", before), ("after", after)))
    check_several("batches", batches)
    layers = {path: _scheme_of(m) for path, m in layout_of(new).modules.items()}
    layers = {path: scheme for path, scheme in layers.items() if scheme is not None}
    if not layers:
        raise ValueError(
            "the second model has no layer whose weight is in few bits: give before, then after"
        )
    arrays, small = arrays_by_path(old, *before[1:]), arrays_by_path(new, *after[1:])
    lost = [path for path in layers if join(path, "weight") not in arrays]
    if lost:
        raise ValueError(
            f"the first model has no weight of {', '.join(lost)}: give the model that was made smaller"
        )
    noises = _noises(before, after, list(layers), batches, inputs)
    rows = []
    for path, scheme in layers.items():
        name = join(path, "weight")
        depth = len(layout_of(old).sizes[name])
        weight = arrays[name]
        error = _relative(weight, _few(scheme, weight, small, name, depth))
        sizes = (_bytes(small, path), _bytes(arrays, path))
        rows.append(LayerCost(path, _short(scheme), error, noises.get(path), *sizes))
    return Costs(tuple(rows))


def sensitivity(
    module: Module,
    params: Params,
    state: State,
    scheme: Scheme,
    loss: Callable[[Params, State, Any], Any],
    batches: Iterable[Any],
    patterns: str | Iterable[str] = "*",
) -> Costs:
    """Find the layers that mind few bits most: write one weight at a time so, and look at the loss.

    Args:
        module: a description.
        params: its parameters.
        state: its buffers.
        scheme: how a weight is written.
        loss: ``(params, state, batch) -> number``, which is jitted; one program serves all layers.
        batches: over which losses are averaged.
        patterns: globs on the dotted paths of layers; all layers of a stack are taken together.

    Returns:
        A table, the layer whose weight does most harm first.

    Raises:
        ValueError: a pattern matches no layer, or there are no batches.
        ParameterTreeError: the trees are not those of the module.

    Example:
        >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
        >>> net = fn.functionalize(model)
        >>> params, state = net.init(jax.random.key(0))
        >>> x = jax.random.normal(jax.random.key(1), (4, 8))
        >>> target = net.apply(params, state, x)[0]
        >>> loss = lambda params, state, x: F.mse_loss(net.apply(params, state, x)[0], target)
        >>> costs = fn.compression.sensitivity(model, params, state, fn.compression.Int4(), loss, [x])
        >>> sorted(row.path for row in costs.rows), costs.rows[0].loss >= costs.rows[1].loss
        (['0', '2'], True)

    Reference: Wu et al., Integer Quantization for Deep Learning Inference, 2020, https://arxiv.org/abs/2004.09602.
    """
    module = describe(module)
    check_several("batches", batches)
    kept = list(batches)
    if not kept:
        raise ValueError("sensitivity needs batches: there are none")
    arrays = arrays_by_path(module, params, state)
    layout = layout_of(module)
    _check_loss(loss)
    measured = jax.jit(loss)

    def mean(arrays: Mapping[str, Array]) -> float:
        trees = trees_of(module, arrays)
        return float(np.mean([float(measured(*trees, batch)) for batch in kept]))

    start = mean(arrays)
    rows: list[LayerCost] = []
    for path, layer in chosen_layers(module, patterns, QUANTIZABLE).items():
        spec = vars(layer)["weight"]
        name = layout.first_path.get(id(spec), "")
        if name not in arrays:
            raise ValueError(f"{path} is quantized already: give the model in floats")
        depth = len(layout.sizes[name])
        few = _few(scheme, arrays[name], {}, name, depth)
        cost = (_relative(arrays[name], few), None, None, None, mean(arrays | {name: few}), start)
        rows.append(LayerCost(path, _short(scheme), *cost))
    return Costs(tuple(sorted(rows, key=lambda row: -(row.loss or 0.0))))


def _checked(name: str, model: Any) -> Model:
    """Meet a module alone, or what else is no triple."""
    if not isinstance(model, tuple) or len(model) != 3:
        raise TypeError(
            f"{name} must be (module, params, state), as compression.quantize returns it; got a {type(model).__name__}"
        )
    return model


def _check_loss(loss: Any) -> None:
    """Meet a loss of outputs and targets: what is asked for runs the model as well."""
    if not _takes_a_batch(loss):
        raise TypeError(
            "loss is called as loss(params, state, batch), and runs the model itself: write loss=lambda params, state, "
            "batch: F.mse_loss(net.apply(params, state, batch[0])[0], batch[1])"
        )


def _takes_a_batch(loss: Any) -> bool:
    if not callable(loss):
        return False
    try:
        signature = inspect.signature(loss)
    except ValueError:  # written in C, which does not tell
        return True
    try:
        signature.bind(None, None, None)
    except TypeError:
        return False
    return list(signature.parameters)[:2] != ["input", "target"]


def _scheme_of(layer: Any) -> Scheme | None:
    """Return how a layer's weight is written; None for a layer that has it as it is."""
    if isinstance(layer, FakeQuantized):
        return layer.weight_scheme
    weight = vars(layer).get("weight")
    return weight.scheme if isinstance(weight, QuantizedArray) else None


def _few(scheme: Scheme, weight: Array, small: Mapping[str, Array], name: str, depth: int) -> Array:
    """Return what few bits hold of a weight: as they are kept in arrays, or as they would be."""
    parts = {part: small[join(name, part)] for part in _parts(small, name)}
    parts = parts or encoder(scheme, depth)(jnp.asarray(small.get(name, weight)))
    return decoder(scheme, weight.shape[depth:], weight.dtype.name, depth)(parts)


def _parts(arrays: Mapping[str, Array], name: str) -> list[str]:
    return [path.removeprefix(f"{name}.") for path in arrays if path.startswith(f"{name}.")]


def _bytes(arrays: Mapping[str, Array], path: str) -> int:
    below = [array for name, array in arrays.items() if not path or name.startswith(f"{path}.")]
    return sum(array.nbytes for array in below)


def _relative(exact: Array, other: Array) -> float:
    whole, few = (np.asarray(x, np.float32) for x in (exact, other))
    return float(np.linalg.norm(whole - few) / (np.linalg.norm(whole) or 1.0))


def _noises(
    before: Model, after: Model, paths: list[str], batches: Iterable[Any], inputs: Any
) -> dict[str, float]:
    """Return decibels by path: ten times the logarithm of the outputs' energy over that of their error."""
    named = [path for path in paths if path]
    if not named and "" not in paths:
        return {}
    seeing = [_seen(model[0], named) for model in (before, after)]

    @jax.jit
    def energies(first: Any, second: Any, args: tuple[Any, ...]) -> Any:
        exact, other = (
            see(*trees, args) for see, trees in zip(seeing, (first, second), strict=True)
        )
        wide = {path: value.astype(jnp.float32) for path, value in exact.items()}
        return {
            path: (jnp.sum(value**2), jnp.sum((value - other[path].astype(jnp.float32)) ** 2))
            for path, value in wide.items()
        }

    total: dict[str, Any] = {}
    names = layout_of(describe(after[0])).module_names
    for batch in batches:
        args = call_arguments(batch, inputs)
        for name, pair in energies(before[1:], after[1:], args).items():
            total[name] = total.get(name, np.zeros(2)) + np.asarray(pair, np.float64)
    found: dict[str, float] = {}
    for path in paths:
        own = {name: sums for name, sums in total.items() if name.partition("#")[0] in names[path]}
        if own:
            signal, noise = sum(own.values(), np.zeros(2))
            found[path] = float("inf") if noise == 0 else float(10 * np.log10(signal / noise))
    return found


def _seen(module: Any, paths: list[str]) -> Callable[..., dict[str, Array]]:
    """Return what gives the outputs of a model's layers, and its own under the empty path."""
    net = functionalize(module)
    if not paths:
        return lambda params, state, args: {"": net.apply(params, state, *args)[0]}
    seen = capture(net, paths)
    return lambda params, state, args: seen.apply(params, state, *args)[0][1]


def _short(scheme: Scheme) -> str:
    """Name a scheme with what differs from its defaults."""
    plain, text = type(scheme)(), []
    for name, value in vars(scheme).items():
        if value != getattr(plain, name) or name == "group":
            text += [] if value is None else [f"{name}={value}"]
    return f"{type(scheme).__name__}({', '.join(text)})"


def _percent(error: float | None) -> str:
    return "" if error is None else f"{100 * error:.2f} %"


def _worse(row: LayerCost) -> str:
    if row.loss is None or row.loss_before is None:
        return ""
    return f"{row.loss - row.loss_before:+.5f}"
