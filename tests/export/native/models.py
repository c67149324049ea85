"""Models for the runner: layers of all kinds, several functions of one model, and arrays of every kind."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import nn
from funcnet.export import entry, spec


@dataclass(frozen=True)
class Case:
    """Functions of a model, and inputs for them: ``calls(size)`` gives names and arrays."""

    entries: dict
    params: dict
    state: dict
    calls: Callable
    sizes: tuple[int, ...] = (1, 3)
    tolerance: float = 1e-5


def numbers(*shape, dtype="f4"):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def initialized(module, *inputs, dtype=None):
    net = fn.functionalize(module)
    params, state = net.init(jax.random.key(0))
    if dtype:
        params = jax.tree.map(lambda array: array.astype(dtype), params)
    return {"call": entry(net, *inputs)}, params, state


def convolutions():
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 10),
    )
    parts = initialized(module, spec(("batch", 1, 8, 8), name="image"))
    return Case(*parts, lambda n: [("call", [numbers(n, 1, 8, 8)])], sizes=(1, 2, 3, 32))


def transformer():
    module = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    parts = initialized(module, spec(("batch", 5, 16)))
    return Case(*parts, lambda n: [("call", [numbers(n, 5, 16)])])


def lstm():
    parts = initialized(nn.LSTM(4, 8, num_layers=2, batch_first=True), spec(("batch", 6, 4)))
    return Case(*parts, lambda n: [("call", [numbers(n, 6, 4)])])


def bfloat16():
    module = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4))
    parts = initialized(module, spec(("batch", 8), jnp.bfloat16), dtype=jnp.bfloat16)
    return Case(*parts, lambda n: [("call", [numbers(n, 8, dtype=jnp.bfloat16)])], tolerance=1e-2)


def functions_with_a_cache():
    """`prefill` makes a cache, `step` reads it and writes into it, at a place that is a scalar."""
    width, length = 8, 6
    params = {"embedding": numbers(11, width), "out": numbers(width, 11)}

    def prefill(params, state, tokens):
        rows = params["embedding"][tokens]
        cache = jnp.zeros((tokens.shape[0], length, width)).at[:, : rows.shape[1]].set(rows)
        return {"cache": cache, "logits": rows.sum(1) @ params["out"]}, state

    def step(params, state, token, cache, place):
        row = params["embedding"][token]
        cache = jax.lax.dynamic_update_slice_in_dim(cache, row[:, None], place, 1)
        seen = (jnp.arange(length) <= place)[None, :, None]
        return {"cache": cache, "logits": jnp.where(seen, cache, 0.0).sum(1) @ params["out"]}, state

    entries = {
        "prefill": entry(prefill, spec(("batch", 3), jnp.int32, "tokens")),
        "step": entry(
            step,
            spec(("batch",), jnp.int32, "token"),
            spec(("batch", length, width), name="cache"),
            spec((), jnp.int32, "place"),
        ),
    }

    def calls(n):
        tokens = np.arange(3 * n, dtype=np.int32).reshape(n, 3) % 11
        cache = numbers(n, length, width)
        return [
            ("prefill", [tokens]),
            ("step", [tokens[:, 0].copy(), cache, np.array(3, np.int32)]),
        ]

    return Case(entries, params, {}, calls)


def all_dtypes():
    """An input, a weight and an output of each dtype; comparisons make booleans."""
    names = ["bool_", "int8", "int16", "int32", "uint8", "uint16", "uint32", "float16", "bfloat16"]
    names += ["float32", "complex64", "float8_e4m3fn", "float8_e5m2"]
    dtypes = [jnp.dtype(getattr(jnp, name)) for name in names]
    params = {str(dtype): jnp.ones((3,), dtype) for dtype in dtypes}

    def function(params, state, *inputs):
        pairs = zip(params.values(), inputs, strict=True)
        return [jnp.where(jnp.array([True, False, True]), a, b) for a, b in pairs], state

    values = [np.arange(3).astype(dtype) for dtype in sorted(dtypes, key=str)]
    specs = [spec((3,), value.dtype, f"given_{value.dtype}") for value in values]
    return Case({"call": entry(function, *specs)}, params, {}, lambda n: [("call", values)])


def odd_shapes():
    """Scalars, empty arrays, an input that is not used, an input that is an output, no input at all."""

    def call(params, state, number, nothing, unused, same):
        made = [number + 1, nothing * 2, jnp.zeros((0, 3)), same, jnp.stack([same, same])]
        return made, state

    def alone(params, state):
        return params["w"] * 2, state

    specs = [spec(()), spec((2, 0)), spec((2,), jnp.int32), spec(("n", "2*n + 1"), name="same")]
    entries = {"call": entry(call, *specs), "alone": entry(alone)}
    values = [np.float32(3), np.zeros((2, 0), "f4"), np.ones(2, "i4")]
    return Case(
        entries,
        {"w": numbers(3)},
        {},
        lambda n: [
            ("call", [np.asarray(v) for v in values] + [numbers(n, 2 * n + 1)]),
            ("alone", []),
        ],
    )


def state():
    """The new state of a normalization is an output as well."""
    net = fn.functionalize(nn.BatchNorm1d(3))
    params, old = net.init(jax.random.key(0))
    made = entry(net, spec((4, 3)), train=True, returns_state=True)
    return Case({"call": made}, params, old, lambda n: [("call", [numbers(n, 3)])], sizes=(4,))


CASES = {
    make.__name__: make
    for make in (
        convolutions,
        transformer,
        lstm,
        bfloat16,
        functions_with_a_cache,
        all_dtypes,
        odd_shapes,
        state,
    )
}
