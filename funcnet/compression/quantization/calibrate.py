"""Calibration: the ranges of what layers are given, found by looking at a few batches."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.compression.quantization.ranges import Activations, InputRange, ends
from funcnet.core.aliases import Array, Params, State
from funcnet.core.checks import check_choice, check_positive
from funcnet.functional.quantization.affine import code_range
from funcnet.module.description import layout_of
from funcnet.module.functionalize import functionalize
from funcnet.module.observe import capture
from funcnet.module.rewriting.parts import arrays_by_path, description_of, trees_of

__all__ = ["calibrate"]

METHODS = ("minmax", "moving", "percentile", "mse")
BINS = 2048
Range = tuple[float, float]


def calibrate(
    net: Any,
    params: Params,
    state: State,
    batches: Iterable[Any],
    method: str = "minmax",
    *,
    percentile: float = 99.99,
    inputs: Callable[[Any], Any] | None = None,
) -> State:
    """Find the range of what each layer is given, from batches, without training.

    Each layer is shown what it would be given if nothing were rounded.

    Args:
        net: a model that `fake_quantize` returned, or what ``functionalize`` made of it.
        params: its parameters.
        state: its buffers.
        batches: a few batches like those that the model will meet. ``"percentile"`` and ``"mse"`` read them twice.
        method: ``"minmax"``: all numbers that came lie in the range. ``"moving"``: a moving average of the batches'
            ranges, as training has it. ``"percentile"``: so many of a hundred numbers do, on either side.
            ``"mse"``: the range of the least squared error of rounding, by a histogram.
        percentile: for the method of that name.
        inputs: makes a call's arguments of a batch, as a tuple or the only one; by default a batch that is a tuple
            holds the arguments, and any other is the only one.

    Returns:
        The state with the ranges.

    Raises:
        ValueError: the model has no ranges, a layer was not called, there are no batches, or the method is none of
            these.
        TypeError: batches that can be read once only, for a method that reads them twice.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> small = fn.compression.fake_quantize(model, *fn.functionalize(model).init(jax.random.key(0)))
        >>> state = fn.compression.calibrate(*small, [jnp.array([[0.0, 4.0]]), jnp.array([[-1.0, 2.0]])])
        >>> float(state["input_range"]["low"]), float(state["input_range"]["high"])
        (-1.0, 4.0)

    Reference: ``torch.ao.quantization.MinMaxObserver``, ``MovingAverageMinMaxObserver``; percentiles and errors: Wu
    et al., Integer Quantization for Deep Learning Inference, 2020, https://arxiv.org/abs/2004.09602.
    """
    check_choice("method", method, METHODS)
    check_several("batches", batches)
    check_positive("percentile", percentile)
    if percentile > 100:
        raise ValueError(f"percentile must be at most 100; got {percentile}")
    twice = method in ("percentile", "mse")
    if twice and iter(batches) is batches:
        raise TypeError(f"method={method!r} reads the batches twice: give a list or a loader")
    module = description_of(net)
    layout = layout_of(module)
    ranges = {p: m for p, m in layout.modules.items() if isinstance(m, InputRange)}
    if not ranges:
        raise ValueError("calibrate takes a model with ranges: what compression.fake_quantize made")
    arrays = arrays_by_path(module, params, state)
    for path in ranges:
        for name, end in (("low", jnp.inf), ("high", -jnp.inf)):
            arrays[f"{path}.{name}".lstrip(".")] = jnp.full(layout.module_sizes[path], end)
    trees = trees_of(module, arrays)
    seen = capture(net if hasattr(net, "apply") else functionalize(module), tuple(ranges))
    look = _looking(seen.apply, trees, inputs)
    found = _from_ends(look(_both_ends, batches, None), method, ranges)
    names = {path: layout.module_names[path] for path in ranges}
    missing = [name for several in names.values() for name in several if name not in found]
    if missing:
        raise ValueError(
            f"no numbers came to {', '.join(missing)}: the batches are empty, or the layer is not called because only "
            "its weight is read. Leave it out by patterns, or give it activations=None"
        )
    if twice:
        how = {name: ranges[path].how for path, several in names.items() for name in several}
        counts = _added(look(_histogram, batches, found))
        for name, histogram in counts.items():
            ends_of = found[name]
            found[name] = (
                _percentile(histogram, ends_of, percentile)
                if method == "percentile"
                else _least_error(histogram, ends_of, how[name])
            )
    for path, several in names.items():
        for place, name in enumerate(("low", "high")):
            values = np.array([found[each][place] for each in several], np.float32)
            arrays[f"{path}.{name}".lstrip(".")] = jnp.asarray(
                values.reshape(layout.module_sizes[path])
            )
    return trees_of(module, arrays)[1]


def check_several(name: str, batches: Any) -> None:
    """Meet one batch where several are iterated over.

    Raises:
        TypeError: it is an array, a dict, or nothing to iterate over.

    Example:
        >>> from funcnet.compression.quantization.calibrate import check_several
        >>> check_several("batches", [jnp.ones((2, 3))])
    """
    one = isinstance(batches, jax.Array | np.ndarray | Mapping)
    if one or not (hasattr(batches, "__iter__") or hasattr(batches, "__getitem__")):
        raise TypeError(
            f"{name} is iterated over, batch by batch: for one batch write [batch]; got a {type(batches).__name__}"
        )


def call_arguments(batch: Any, inputs: Callable[[Any], Any] | None) -> tuple[Any, ...]:
    """Make the arguments of a call of a batch.

    Raises:
        TypeError: the batch is a dict, and nothing says what of it the model is given.

    Example:
        >>> from funcnet.compression.quantization.calibrate import call_arguments
        >>> call_arguments({"x": 1, "y": 2}, lambda batch: batch["x"])
        (1,)
    """
    if inputs is None and isinstance(batch, Mapping):
        named = ", ".join(map(repr, batch))
        raise TypeError(
            f"a batch is what the model is given, or a tuple of it; this one is a dict of {named}: say what to give, "
            'as in inputs=lambda batch: batch["x"], or lambda batch: (batch,) for a model that takes a dict'
        )
    args = batch if inputs is None else inputs(batch)
    return args if isinstance(args, tuple) else (args,)


Look = Callable[[Callable[..., Any], Iterable[Any], Any], Iterable[dict[str, Any]]]


def _looking(apply: Any, trees: tuple[Params, State], inputs: Any) -> Look:
    """Return what shows a function all that each layer was given, batch by batch."""

    def look(function: Callable[..., Any], batches: Iterable[Any], known: Any) -> Any:
        @jax.jit
        def looked(params: Params, state: State, known: Any, args: tuple[Any, ...]) -> Any:
            (_, captured), _ = apply(params, state, *args)
            told: dict[str, Any] = {}
            for label, value in captured.items():
                told.setdefault(label.partition("#")[0], []).append(value.reshape(-1))
            return {
                name: function(jnp.concatenate(parts), None if known is None else known[name])
                for name, parts in told.items()
            }

        for batch in batches:
            yield jax.device_get(looked(*trees, known, call_arguments(batch, inputs)))

    return look


def _both_ends(value: Array, known: Any) -> tuple[Array, Array]:
    return ends(value)


def _histogram(value: Array, known: Any) -> Array:
    low, high = known
    width = jnp.maximum(high - low, jnp.finfo(jnp.float32).tiny)
    place = ((value.astype(jnp.float32) - low) / width * BINS).astype(jnp.int32)
    return jnp.zeros(BINS, jnp.int32).at[jnp.clip(place, 0, BINS - 1)].add(1)


def _from_ends(
    batches: Iterable[dict[str, Any]], method: str, ranges: dict[str, Any]
) -> dict[str, Range]:
    momentum = next(iter(ranges.values())).how.momentum
    found: dict[str, Range] = {}
    for told in batches:
        for name, (low, high) in told.items():
            low, high = float(low), float(high)
            if not low <= high:  # nothing came, or NaN
                if np.isnan([low, high]).any():
                    raise ValueError(
                        f"{name} was given NaN: calibrate a model whose outputs are finite"
                    )
                continue
            if not np.isfinite([low, high]).all():
                raise ValueError(f"{name} was given an infinite number, which no range holds")
            old = found.get(name, (low, high))
            found[name] = (
                (old[0] + momentum * (low - old[0]), old[1] + momentum * (high - old[1]))
                if method == "moving"
                else (min(old[0], low), max(old[1], high))
            )
    return found


def _added(batches: Iterable[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for told in batches:
        for name, counts in told.items():
            total[name] = total.get(name, 0) + counts.astype(np.int64)
    return total


def _percentile(counts: Any, ends_of: Range, percentile: float) -> Range:
    """Leave out, on either side, what is rarer than the percentile."""
    low, high = ends_of
    edges = np.linspace(low, high, BINS + 1)
    share = np.cumsum(counts) / counts.sum()
    outside = 1 - percentile / 100
    first = int(np.searchsorted(share, outside, side="right"))
    last = int(np.searchsorted(share, 1 - outside, side="left"))
    return float(edges[first]), float(edges[min(last, BINS - 1) + 1])


def _least_error(counts: Any, ends_of: Range, how: Activations) -> Range:
    """Try ever smaller ranges around 0; return that of the least squared error."""
    low, high = min(ends_of[0], 0.0), max(ends_of[1], 0.0)
    edges = np.linspace(*ends_of, BINS + 1)
    centers = (edges[:-1] + edges[1:]) / 2
    least, largest = code_range(how.bits, symmetric=how.symmetric)
    best, error = ends_of, np.inf
    for part in np.linspace(1, 0.05, 96):
        a, b = low * part, high * part
        scale = max(-a, b) / largest if how.symmetric else (b - a) / (largest - least)
        scale = scale or 1.0
        zero = 0 if how.symmetric else np.clip(np.round(least - a / scale), least, largest)
        codes = np.clip(np.round(centers / scale) + zero, least, largest)
        made = float((counts * ((codes - zero) * scale - centers) ** 2).sum())
        if made < error:
            best, error = (float(a), float(b)), made
    return best
