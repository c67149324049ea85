"""The models of `benchmarks.models` in plain JAX, as a competent user writes them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.models_data import CLASSES, LR, VOCABULARY, WEIGHT_DECAY

NORMAL = np.random.default_rng(1)


def dense(inputs: int, outputs: int) -> dict[str, Any]:
    """Return a layer that starts as PyTorch's: without biases, 100 layers would carry nothing to the last."""
    w, b = (NORMAL.uniform(-1, 1, size) / inputs**0.5 for size in ((inputs, outputs), outputs))
    return {"w": jnp.asarray(w, jnp.float32), "b": jnp.asarray(b, jnp.float32)}


def conv(inputs: int, outputs: int, size: int) -> Any:
    w = NORMAL.uniform(-1, 1, (size, size, inputs, outputs)) / (inputs * size**2) ** 0.5
    return jnp.asarray(w, jnp.float32)


def table(rows: int, width: int, std: float = 1.0) -> Any:
    return jnp.asarray(NORMAL.standard_normal((rows, width)) * std, jnp.float32)


def norm(width: int) -> dict[str, Any]:
    return {"scale": jnp.ones(width), "shift": jnp.zeros(width)}


def linear(p: Any, x: Any) -> Any:
    return x @ p["w"] + p["b"]


def convolve(w: Any, x: Any, stride: int = 1, padding: str = "SAME") -> Any:
    pads = [(w.shape[0] // 2,) * 2] * 2 if padding == "SAME" else "VALID"
    layouts = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=layouts)


def batch_norm(p: Any, x: Any) -> tuple[Any, Any]:
    """Normalise over all axes but the last; return the statistics for the running means."""
    mean = x.mean((0, 1, 2))
    var = jnp.mean(jnp.square(x), (0, 1, 2)) - jnp.square(mean)
    return (x - mean) * (lax.rsqrt(var + 1e-5) * p["scale"]) + p["shift"], (mean, var)


def layer_norm(p: Any, x: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    var = jnp.mean(jnp.square(x - mean), -1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["shift"]


def max_pool(x: Any) -> Any:
    window = (1, 2, 2, 1)
    return lax.reduce_window(x, np.float32(-np.inf), lax.max, window, window, "VALID")


def mlp() -> tuple[Any, Callable]:
    def apply(params: Any, x: Any) -> Any:
        for p in params[:-1]:
            x = jax.nn.relu(linear(p, x))
        return linear(params[-1], x), ()

    return [dense(784, 512), dense(512, 512), dense(512, CLASSES)], apply


def deep() -> tuple[Any, Callable]:
    def apply(params: Any, x: Any) -> Any:
        for p in params:
            x = jax.nn.relu(linear(p, x))
        return x, ()

    return [dense(64, 64) for _ in range(100)], apply


def cnn() -> tuple[Any, Callable]:
    params = {"head": dense(64 * 7 * 7, CLASSES)}
    for i, (inputs, outputs) in enumerate(((1, 32), (32, 64))):
        params[f"conv{i}"] = {"w": conv(inputs, outputs, 3), "b": jnp.zeros(outputs)}
        params[f"norm{i}"] = norm(outputs)

    def apply(params: Any, x: Any) -> Any:
        statistics, x = [], x.reshape(-1, 28, 28, 1)
        for i in range(2):
            p = params[f"conv{i}"]
            x, seen = batch_norm(params[f"norm{i}"], convolve(p["w"], x) + p["b"])
            x = max_pool(jax.nn.relu(x))
            statistics.append(seen)
        return linear(params["head"], x.reshape(len(x), -1)), statistics

    return params, apply


def lstm(width: int = 256) -> tuple[Any, Callable]:
    params = {
        "tokens": table(VOCABULARY, width),
        "input": dense(width, 4 * width),
        "hidden": dense(width, 4 * width),
        "head": dense(width, VOCABULARY),
    }

    def apply(params: Any, tokens: Any) -> Any:
        x = linear(params["input"], params["tokens"][tokens.T])
        state = jnp.zeros((x.shape[1], width))

        def step(carry: Any, x: Any) -> Any:
            h, c = carry
            i, f, g, o = jnp.split(x + linear(params["hidden"], h), 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        _, hidden = lax.scan(step, (state, state), x)
        return linear(params["head"], hidden.swapaxes(0, 1)), ()

    return params, apply


def transformer_block(width: int) -> dict[str, Any]:
    return {
        "norm1": norm(width),
        "norm2": norm(width),
        "qkv": dense(width, 3 * width),
        "project": dense(width, width),
        "up": dense(width, 4 * width),
        "down": dense(4 * width, width),
    }


def transform(p: Any, x: Any, heads: int, causal: bool) -> Any:
    batch, time, width = x.shape
    qkv = linear(p["qkv"], layer_norm(p["norm1"], x)).reshape(batch, time, 3, heads, -1)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    attended = jax.nn.dot_product_attention(q, k, v, is_causal=causal)
    x = x + linear(p["project"], attended.reshape(batch, time, width))
    hidden = jax.nn.gelu(linear(p["up"], layer_norm(p["norm2"], x)), approximate=False)
    return x + linear(p["down"], hidden)


def gpt(width: int = 128, layers: int = 4, heads: int = 4, time: int = 128) -> tuple[Any, Callable]:
    params = {
        "tokens": table(VOCABULARY, width),
        "positions": table(time, width),
        "blocks": [transformer_block(width) for _ in range(layers)],
        "norm": norm(width),
        "head": dense(width, VOCABULARY),
    }

    def apply(params: Any, tokens: Any) -> Any:
        x = params["tokens"][tokens] + params["positions"]
        for p in params["blocks"]:
            x = transform(p, x, heads, causal=True)
        return linear(params["head"], layer_norm(params["norm"], x)), ()

    return params, apply


def vit(width: int = 192, layers: int = 12, heads: int = 3) -> tuple[Any, Callable]:
    params = {
        "patches": {"w": conv(3, width, 4), "b": jnp.zeros(width)},
        "positions": table(64, width, 0.02),
        "blocks": [transformer_block(width) for _ in range(layers)],
        "norm": norm(width),
        "head": dense(width, CLASSES),
    }

    def apply(params: Any, x: Any) -> Any:
        p = params["patches"]
        x = convolve(p["w"], jnp.moveaxis(x, 1, -1), 4, "VALID") + p["b"]
        x = x.reshape(len(x), 64, width) + params["positions"]
        for p in params["blocks"]:
            x = transform(p, x, heads, causal=False)
        return linear(params["head"], layer_norm(params["norm"], x).mean(1)), ()

    return params, apply


def residual_block(inputs: int, outputs: int, stride: int) -> dict[str, Any]:
    p = {"conv1": conv(inputs, outputs, 3), "conv2": conv(outputs, outputs, 3)}
    p |= {"norm1": norm(outputs), "norm2": norm(outputs)}
    if stride != 1 or inputs != outputs:
        p |= {"conv3": conv(inputs, outputs, 1), "norm3": norm(outputs)}
    return p


def resnet() -> tuple[Any, Callable]:
    plan = [
        (inputs, outputs, stride if first else 1)
        for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
        for inputs, first in ((inputs, True), (outputs, False))
    ]
    params = {
        "stem": conv(3, 64, 3),
        "norm": norm(64),
        "blocks": [residual_block(*sizes) for sizes in plan],
        "head": dense(512, CLASSES),
    }

    def apply(params: Any, x: Any) -> Any:
        x, seen = batch_norm(params["norm"], convolve(params["stem"], jnp.moveaxis(x, 1, -1)))
        x, statistics = jax.nn.relu(x), [seen]
        for p, (_, _, stride) in zip(params["blocks"], plan, strict=True):
            y, first = batch_norm(p["norm1"], convolve(p["conv1"], x, stride))
            y, second = batch_norm(p["norm2"], convolve(p["conv2"], jax.nn.relu(y)))
            statistics += [first, second]
            if "conv3" in p:
                x, third = batch_norm(p["norm3"], convolve(p["conv3"], x, stride))
                statistics.append(third)
            x = jax.nn.relu(x + y)
        return linear(params["head"], x.mean((1, 2))), statistics

    return params, apply


MODELS = {
    "mlp": mlp,
    "deep": deep,
    "cnn": cnn,
    "lstm": lstm,
    "gpt": gpt,
    "resnet": resnet,
    "vit": vit,
}


def adamw(p: Any, m: Any, v: Any, g: Any, count: Any) -> tuple[Any, Any, Any]:
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * jnp.square(g)
    move = (m / (1 - 0.9**count)) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8)
    return p - LR * (move + WEIGHT_DECAY * p), m, v


def make(row: str, x: Any, y: Any, variant: str = "") -> tuple[Callable[[], object], int]:
    """Return one training step that finishes before it returns, and the number of parameters."""
    params, apply = MODELS[row]()
    x, y = jnp.asarray(x), jnp.asarray(y)

    def loss(params: Any, x: Any, y: Any) -> Any:
        output, statistics = apply(params, x)
        if y.ndim == output.ndim:
            return jnp.mean(jnp.square(output - y)), statistics
        logits = jax.nn.log_softmax(output)
        return -jnp.mean(jnp.take_along_axis(logits, y[..., None], -1)), statistics

    def step(params: Any, moments: Any, count: Any, running: Any, x: Any, y: Any) -> Any:
        (value, seen), grads = jax.value_and_grad(loss, has_aux=True)(params, x, y)
        count = count + 1
        leaves, tree = jax.tree.flatten(params)
        rows = zip(leaves, *moments, jax.tree.leaves(grads), strict=True)
        new = [adamw(p, m, v, g, count.astype(jnp.float32)) for p, m, v, g in rows]
        leaves, *moments = ([row[i] for row in new] for i in range(3))
        running = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, running, seen)
        return tree.unflatten(leaves), moments, count, running, value

    jitted = jax.jit(step, donate_argnums=(0, 1, 2, 3))
    zeros = [[jnp.zeros_like(leaf) for leaf in jax.tree.leaves(params)] for _ in range(2)]
    seen = jax.eval_shape(loss, params, x, y)[1]
    running = jax.tree.map(lambda like: jnp.zeros(like.shape), seen)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    held = [params, zeros, jnp.int32(0), running]

    def run() -> object:
        *held[:], value = jitted(*held, x, y)
        jax.block_until_ready((held, value))
        return value

    return run, count
