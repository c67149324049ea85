"""Memory of pipeline schedules on simulated devices: `python -m benchmarks.pipeline [--width 256]`.

For four stages and more and more microbatches of one size: bytes that XLA reserves for temporaries on a device, for
GPipe as nn.Repeat does it by default, for GPipe that computes blocks again (remat=True), and for both 1F1B schedules;
and the share of time for which a stage waits.
"""

import argparse
import os
from functools import partial
from typing import Any

STAGES = 4
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(STAGES))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

import funcnet as fn  # noqa: E402
from examples.char_gpt import Block  # noqa: E402
from funcnet import functional as F  # noqa: E402
from funcnet import nn, parallel  # noqa: E402
from funcnet.core.paths import nest  # noqa: E402

VOCABULARY = 64


class Model(nn.Module):
    """The transformer of `examples/char_gpt.py`, its blocks an nn.Repeat."""

    def __init__(self, width: int, layers: int, remat: Any) -> None:
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.Repeat(Block(width, max(1, width // 32), 0.0, 0.02), layers, remat=remat)
        self.head = nn.Linear(width, VOCABULARY, bias=False)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Return the loss of texts."""
        features = self.blocks(self.tokens(tokens[:, :-1]))
        return F.linear_cross_entropy(
            features.reshape(-1, features.shape[-1]), self.head.weight, tokens[:, 1:].reshape(-1)
        )


def loss(net: fn.Functional, params: Any, batch: jax.Array) -> jax.Array:
    return net.apply(params, {}, batch, train=True)[0]


def temporaries(kind: str, remat: Any, microbatches: int, args: argparse.Namespace) -> int:
    """Return bytes on a device, of a value and gradient."""
    mesh = parallel.mesh(stage=STAGES)
    net = fn.functionalize(Model(args.width, args.layers, remat))
    net = parallel.pipeline(net, mesh, "blocks", microbatches=microbatches)
    net = parallel.shard(net, mesh, {})
    if kind == "gpipe":
        both = jax.value_and_grad(partial(loss, net))
    else:
        both = parallel.pipeline_value_and_grad(loss, net, schedule=kind)
    batch = jax.ShapeDtypeStruct((microbatches * args.rows, args.length + 1), jnp.int32)
    params = {
        path: jax.ShapeDtypeStruct(one.shape, one.dtype, sharding=net.placement.sharding(path))
        for path, one in net.placement.arrays.items()
    }
    compiled = jax.jit(both).lower(nest(params), batch).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rows", type=int, default=4, help="of a microbatch")
    parser.add_argument("--microbatches", type=int, nargs="*", default=[4, 8, 16, 32])
    args = parser.parse_args()
    kinds = {
        "GPipe": ("gpipe", "costly"),
        "GPipe, remat": ("gpipe", True),
        "1F1B": ("1f1b", "costly"),
        "eager 1F1B": ("eager-1f1b", "costly"),
    }
    print(
        f"MiB of temporaries on each of {STAGES} devices; microbatches of {args.rows} x {args.length}, ",
        end="",
    )
    print(f"{args.layers} blocks of width {args.width}")
    print("microbatches" + "".join(f"{name:>14}" for name in kinds) + f"{'waits':>10}")
    for count in args.microbatches:
        sizes = [temporaries(*how, count, args) / 2**20 for how in kinds.values()]
        shown = "".join(f"{size:14.1f}" for size in sizes)
        print(f"{count:12d}{shown}{parallel.bubble_fraction(STAGES, count):10.0%}", flush=True)


if __name__ == "__main__":
    main()
