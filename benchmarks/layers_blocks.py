"""Activations, norms, dropout and attention: `python -m benchmarks.layers_blocks [name ...]`.

Each is timed forward and backward against the plain JAX form and against PyTorch, in turns.
"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.interleave import interleave, table
from funcnet import functional as F


def plain_batch_norm(x: Any, weight: Any, bias: Any) -> Any:
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    scale = weight[:, None, None] * jax.lax.rsqrt(var + 1e-5)
    return (x - mean) * scale + bias[:, None, None]


def plain_layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * weight + bias


def plain_dropout(x: Any) -> Any:
    keep = jax.random.bernoulli(jax.random.key(0), 0.9, x.shape)
    return jnp.where(keep, x / 0.9, 0)


def plain_attention(q: Any, k: Any, v: Any) -> Any:
    scores = jnp.einsum("bhle,bhse->bhls", q, k) / np.sqrt(q.shape[-1]).astype(np.float32)
    mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), -1)
    return jnp.einsum("bhls,bhse->bhle", weights, v)


def causal(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def batch_norm(x: Any, weight: Any, bias: Any) -> Any:
    return F.batch_norm(x, None, None, weight, bias, training=True)


def layer_norm(x: Any, weight: Any, bias: Any) -> Any:
    return F.layer_norm(x, (x.shape[-1],), weight, bias)


def dropout(x: Any) -> Any:
    return F.dropout(x, 0.1, key=jax.random.key(0))


IMAGE, ROWS, HEADS = (32, 64, 28, 28), (4096, 256), (8, 8, 256, 64)
CASES: dict[str, tuple[list[tuple[int, ...]], Callable[..., Any], Callable[..., Any], str]] = {
    "batch norm": ([IMAGE, (64,), (64,)], batch_norm, plain_batch_norm, "batch_norm"),
    "layer norm": ([ROWS, (256,), (256,)], layer_norm, plain_layer_norm, "layer_norm"),
    "gelu": ([(1 << 20,)], F.gelu, lambda x: jax.nn.gelu(x, approximate=False), "gelu"),
    "mish": ([(1 << 20,)], F.mish, lambda x: x * jnp.tanh(jax.nn.softplus(x)), "mish"),
    "dropout 0.1": ([(1024, 1024)], dropout, plain_dropout, "dropout"),
    "causal attention": ([HEADS] * 3, causal, plain_attention, "attention"),
}


def jax_side(function: Callable[..., Any], arrays: list[np.ndarray]) -> Callable[[], Any]:
    """Return a call of the jitted value and gradients."""
    put = [jax.device_put(array) for array in arrays]

    @jax.jit
    def run(*arrays: Any) -> Any:
        output, pull = jax.vjp(function, *arrays)
        return output, pull(jnp.ones_like(output))

    return lambda: jax.block_until_ready(run(*put))


def torch_side(name: str, arrays: list[np.ndarray]) -> Callable[[], Any]:
    """Return a call of PyTorch's forward and backward pass."""
    import torch
    from torch.nn import functional as T

    calls = {
        "batch_norm": lambda x, w, b: T.batch_norm(x, None, None, w, b, training=True),
        "layer_norm": lambda x, w, b: T.layer_norm(x, (x.shape[-1],), w, b),
        "dropout": lambda x: T.dropout(x, 0.1),
        "attention": lambda q, k, v: T.scaled_dot_product_attention(q, k, v, is_causal=True),
    }
    function = calls.get(name) or getattr(T, name)
    tensors = [torch.from_numpy(array).requires_grad_() for array in arrays]

    def run() -> None:
        output = function(*tensors)
        torch.autograd.grad(output, tensors, torch.ones_like(output))

    return run


def main() -> None:
    """Print the medians and ratios of each case, or of those named."""
    rng = np.random.default_rng(0)
    for name in sys.argv[1:] or CASES:
        shapes, ours, plain, theirs = CASES[name]
        arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        sides = {
            "plain JAX": jax_side(plain, arrays),
            "funcnet": jax_side(ours, arrays),
            "PyTorch": torch_side(theirs, arrays),
        }
        print(table(name, interleave(sides, rounds=15), "plain JAX"))


if __name__ == "__main__":
    main()
