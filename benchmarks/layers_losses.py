"""Cross entropy against plain JAX and PyTorch: ``python -m benchmarks.layers_losses``.

Value and gradient of 1024 samples over 16,000 classes, and of a linear head whose logits are made in
chunks; each on one thread, the sides in turn.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false " + os.environ.get("XLA_FLAGS", "")

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.interleave import interleave, table
from funcnet import functional as F


def _plain(x, y):
    return -jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], 1).mean()


def _timed(function, *arguments):
    run = jax.jit(function)
    return lambda: jax.block_until_ready(run(*arguments))


def cross_entropy(samples: int = 1024, classes: int = 16_000) -> None:
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(samples, classes)), jnp.float32)
    y = jnp.asarray(rng.integers(0, classes, samples))
    tx, ty = torch.tensor(np.asarray(x), requires_grad=True), torch.tensor(np.asarray(y)).long()
    loss = torch.nn.functional.cross_entropy

    def theirs_forward():
        with torch.no_grad():
            loss(tx, ty)

    forward = {
        "funcnet": _timed(F.cross_entropy, x, y),
        "plain JAX": _timed(_plain, x, y),
        "PyTorch": theirs_forward,
    }
    both = {
        "funcnet": _timed(jax.value_and_grad(F.cross_entropy), x, y),
        "plain JAX": _timed(jax.value_and_grad(_plain), x, y),
        "PyTorch": lambda: torch.autograd.grad(loss(tx, ty), tx),
    }
    print(table("cross entropy, forward", interleave(forward, rounds=9), "plain JAX"))
    print(table("cross entropy, value and gradient", interleave(both, rounds=9), "plain JAX"))


def linear_head(samples: int = 512, features: int = 128, classes: int = 8_000) -> None:
    rng = np.random.default_rng(0)
    x, w = (
        jnp.asarray(rng.normal(size=s), jnp.float32)
        for s in ((samples, features), (classes, features))
    )
    y = jnp.asarray(rng.integers(0, classes, samples))
    options = F.LinearCrossEntropyOptions()
    whole = jax.value_and_grad(lambda x, w: F.linear_cross_entropy(x, w, y), (0, 1))
    chunked = jax.value_and_grad(
        lambda x, w: F.linear_cross_entropy(x, w, y, options=options), (0, 1)
    )
    sides = {"at once": _timed(whole, x, w), "in chunks": _timed(chunked, x, w)}
    print(
        table("linear cross entropy, value and gradients", interleave(sides, rounds=7), "at once")
    )
    for name, function in (("at once", whole), ("in chunks", chunked)):
        memory = jax.jit(function).lower(x, w).compile().memory_analysis()
        print(f"  {name}: {memory.temp_size_in_bytes / 2**20:.1f} MiB of temporary arrays")


if __name__ == "__main__":
    cross_entropy()
    linear_head()
