"""Single functions of `benchmarks.gpu`, forward and backward; bfloat16 unless a row says float32.

A row is one call that both libraries understand, `funcnet.functional` and `torch.nn.functional`. PyTorch runs it
twice, eagerly and with torch.compile; the better one counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import ml_dtypes  # noqa: F401 - NumPy learns bfloat16 from it
import numpy as np

from benchmarks.gpu_sides import Row, Work, jax_work, torch_device, torch_work

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """A call of float arrays, whose shapes are given, and of one integer array, given as its shape and bound."""

    title: str
    run: Callable[..., Any]
    shapes: tuple[Shape, ...]
    dtype: str = "bfloat16"
    ints: tuple[Shape, int] | None = None
    theirs: Callable[..., Any] | None = None
    eager_only: bool = False

    def smaller(self) -> "Call":
        """Return the same call with a batch of two, to see that it runs."""
        batch = self.shapes[0][0]
        shapes = tuple((2, *s[1:]) if s[0] == batch else s for s in self.shapes)
        ints = self.ints and ((2, *self.ints[0][1:]), 2)
        return Call(**{**vars(self), "shapes": shapes, "ints": ints})


def _arrays(call: Call) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    # The weight of a large product is drawn small, so that sums stay where real ones are.
    floats = [
        rng.standard_normal(shape, np.float32) / (math.sqrt(math.prod(shape[1:])) if n else 1.0)
        for n, shape in enumerate(call.shapes)
    ]
    return floats, [rng.integers(0, call.ints[1], call.ints[0], np.int32)] if call.ints else []


def _funcnet(call: Call, tiny: bool) -> Work:
    import jax
    import jax.numpy as jnp

    from funcnet import functional as F

    floats, ints = _arrays(call.smaller() if tiny else call)
    arrays = [jnp.asarray(x, call.dtype) for x in floats]
    ints = [jnp.asarray(x) for x in ints]

    def both(arrays: Any, ints: Any, cotangent: Any) -> Any:
        output, pull = jax.vjp(lambda *arrays: call.run(F, *arrays, *ints), *arrays)
        return output, pull(cotangent)

    shape = jax.eval_shape(lambda arrays, ints: call.run(F, *arrays, *ints), arrays, ints)
    return jax_work(both, arrays, ints, jnp.ones(shape.shape, shape.dtype))


def _torch(call: Call, tiny: bool, compiled: bool) -> Work:
    import torch
    from torch.nn import functional as T

    floats, ints = _arrays(call.smaller() if tiny else call)
    device, dtype = torch_device(), getattr(torch, call.dtype)
    arrays = [torch.tensor(x, device=device, dtype=dtype, requires_grad=True) for x in floats]
    indices = [torch.tensor(x, device=device).long() for x in ints]
    run = call.theirs or call.run
    function = partial(run, T)
    function = torch.compile(function) if compiled else function
    cotangent = torch.ones_like(function(*arrays, *indices))

    def both() -> None:
        torch.autograd.grad(function(*arrays, *indices), arrays, cotangent)

    return torch_work(both, alone=False)


def _attention(shape: Shape, kv_heads: int | None = None) -> Call:
    heads = kv_heads or shape[1]
    grouped = {"enable_gqa": True} if kv_heads else {}

    def run(f: Any, q: Any, k: Any, v: Any) -> Any:
        return f.scaled_dot_product_attention(q, k, v, is_causal=True, **grouped)

    batch, queries, time, size = shape
    others = (batch, heads, time, size)
    name = "x".join(
        map(str, shape if kv_heads is None else (batch, f"{queries}/{heads}", time, size))
    )
    return Call(f"causal attention {name}", run, (shape, others, others))


def _linear_head(samples: int, width: int, classes: int, logits: str) -> Call:
    def ours(f: Any, x: Any, weight: Any, bias: Any, y: Any) -> Any:
        options = f.LinearCrossEntropyOptions(acc_dtype=np.dtype(logits))
        return f.linear_cross_entropy(x, weight, y, linear_bias=bias, options=options)

    def theirs(f: Any, x: Any, weight: Any, bias: Any, y: Any) -> Any:
        return f.cross_entropy(f.linear(x, weight, bias).float(), y)

    shapes = ((samples, width), (classes, width), (classes,))
    title = f"linear cross entropy {samples}x{width}x{classes}, {logits} logits"
    return Call(title, ours, shapes, ints=((samples,), classes), theirs=theirs)


def _drop(f: Any, x: Any) -> Any:
    if f.__name__.startswith("torch"):
        return f.dropout(x, 0.1, True)
    import jax

    return f.dropout(x, 0.1, key=jax.random.key(0))


def _cross_entropy(f: Any, x: Any, y: Any) -> Any:
    return f.cross_entropy(x, y)


def _cross_entropy_wide(f: Any, x: Any, y: Any) -> Any:
    return f.cross_entropy(x.float(), y).to(x.dtype)


def _conv(name: str, x: Shape, w: Shape, dtype: str = "bfloat16", **settings: Any) -> Call:
    function = "conv_transpose2d" if "transpose" in name else f"conv{len(x) - 2}d"
    return Call(name, lambda f, x, w: getattr(f, function)(x, w, **settings), (x, w), dtype)


def _pool(name: str, function: str, shape: Shape, *settings: Any) -> Call:
    return Call(name, lambda f, x: getattr(f, function)(x, *settings), (shape,))


def _norm(name: str, shape: Shape, run: Callable[..., Any]) -> Call:
    channels = (shape[-1] if len(shape) == 2 else shape[1],)
    return Call(name, run, (shape, channels, channels))


def _resize(f: Any, x: Any) -> Any:
    return f.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


CALLS = {
    "attention": _attention((16, 12, 1024, 64)),
    "attention_long": _attention((2, 12, 4096, 64)),
    "attention_grouped": _attention((8, 32, 1024, 128), 8),
    "linear_cross_entropy": _linear_head(8192, 768, 50304, "bfloat16"),
    "linear_cross_entropy_wide": _linear_head(8192, 768, 50304, "float32"),
    "cross_entropy": Call(
        "cross entropy 8192x50304",
        _cross_entropy,
        ((8192, 50304),),
        ints=((8192,), 50304),
        theirs=_cross_entropy_wide,
    ),
    "adaptive_avg_pool": _pool(
        "adaptive average pool 32 to 7, 64x512", "adaptive_avg_pool2d", (64, 512, 32, 32), 7
    ),
    "grid_sample": Call(
        "grid sample 32x64x56x56, float32",
        lambda f, x, grid: f.grid_sample(x, grid, align_corners=False),
        ((32, 64, 56, 56), (32, 56, 56, 2)),
        "float32",
    ),
    "layer_norm": _norm(
        "layer norm 16384x1024", (16384, 1024), lambda f, x, w, b: f.layer_norm(x, (1024,), w, b)
    ),
    "rms_norm": Call(
        "RMS norm 16384x1024", lambda f, x, w: f.rms_norm(x, (1024,), w), ((16384, 1024), (1024,))
    ),
    "batch_norm": _norm(
        "batch norm 128x256x28x28",
        (128, 256, 28, 28),
        lambda f, x, w, b: f.batch_norm(x, None, None, w, b, True),
    ),
    "group_norm": _norm(
        "group norm 64x256x28x28", (64, 256, 28, 28), lambda f, x, w, b: f.group_norm(x, 32, w, b)
    ),
    "dropout": Call("dropout 64 M", _drop, ((64, 1024, 1024),)),
    "gelu": Call("GELU 64 M", lambda f, x: f.gelu(x), ((64, 1024, 1024),)),
    "softmax": Call("softmax 16384x4096", lambda f, x: f.softmax(x, -1), ((16384, 4096),)),
    "embedding": Call(
        "embedding 50304x768, 16384 rows, float32",
        lambda f, table, index: f.embedding(index, table),
        ((50304, 768),),
        "float32",
        ints=((16384,), 50304),
    ),
    "conv": _conv("conv 3x3 256, 64x28x28", (64, 256, 28, 28), (256, 256, 3, 3), padding=1),
    "conv_float32": _conv(
        "conv 3x3 256, 64x28x28, float32 (TF32)",
        (64, 256, 28, 28),
        (256, 256, 3, 3),
        "float32",
        padding=1,
    ),
    "depthwise": _conv(
        "depthwise 3x3 64x256x56x56", (64, 256, 56, 56), (256, 1, 3, 3), padding=1, groups=256
    ),
    "grouped": _conv(
        "32 groups 3x3 64x256x28x28", (64, 256, 28, 28), (256, 8, 3, 3), padding=1, groups=32
    ),
    "conv_transpose": _conv(
        "conv transpose 4x4/2 64x256x28x28",
        (64, 256, 28, 28),
        (256, 128, 4, 4),
        stride=2,
        padding=1,
    ),
    "conv1d": _conv("conv1d 5 64x512x1024", (64, 512, 1024), (512, 512, 5), padding=2),
    "conv3d": _conv("conv3d 3 8x64x16x56x56", (8, 64, 16, 56, 56), (64, 64, 3, 3, 3), padding=1),
    "max_pool": _pool("max pool 3/2 64x64x112x112", "max_pool2d", (64, 64, 112, 112), 3, 2, 1),
    "avg_pool": _pool("average pool 3/2 64x64x112x112", "avg_pool2d", (64, 64, 112, 112), 3, 2, 1),
    "bilinear": Call("bilinear x2 32x64x56x56, float32", _resize, ((32, 64, 56, 56),), "float32"),
    "unfold": _pool("unfold 3x3 64x64x56x56", "unfold", (64, 64, 56, 56), 3, 1, 1),
}


# ---- recurrent layers, whose weights belong to a layer -------------------------------------------


def _recurrent_funcnet(kind: str, time: int, batch: int, width: int, tiny: bool) -> Work:
    import jax
    import jax.numpy as jnp

    import funcnet as fn

    time, batch, width = (4, 2, 8) if tiny else (time, batch, width)
    net = fn.functionalize(getattr(fn.nn, kind)(width, width))
    params, state = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (time, batch, width))

    def both(params: Any, x: Any) -> Any:
        output, pull = jax.vjp(lambda params, x: net.apply(params, state, x)[0][0], params, x)
        return output, pull(jnp.ones_like(output))

    return jax_work(both, params, x)


def _recurrent_torch(kind: str, time: int, batch: int, width: int, tiny: bool) -> Work:
    import torch

    time, batch, width = (4, 2, 8) if tiny else (time, batch, width)
    layer = getattr(torch.nn, kind)(width, width).to(torch_device())
    x = torch.randn(time, batch, width, device=torch_device(), requires_grad=True)
    leaves = [x, *layer.parameters()]

    def both() -> None:
        output = layer(x)[0]
        torch.autograd.grad(output, leaves, torch.ones_like(output))

    return torch_work(both, alone=False)


RECURRENT = {"RNN": (256, 64, 256), "LSTM": (256, 64, 256), "GRU": (128, 64, 512)}
"""Time, batch, width."""


def _rows() -> dict[str, Row]:
    rows = {}
    for name, call in CALLS.items():
        eager, compiled = (partial(_torch, call, compiled=c) for c in (False, True))
        sides = {"funcnet": partial(_funcnet, call), "torch": eager, "torch.compile": compiled}
        rows[name] = Row(call.title, sides)
    for kind, sizes in RECURRENT.items():
        title = f"{kind} {sizes[2]}, {sizes[0]} steps, batch {sizes[1]}, float32"
        ours, theirs = (partial(f, kind, *sizes) for f in (_recurrent_funcnet, _recurrent_torch))
        rows[kind.lower()] = Row(title, {"funcnet": ours, "torch": theirs})
    return rows


ROWS = _rows()
