"""Train the transformer of `char_gpt.py` as a pipeline: its blocks lie on four devices, a stage each.

JAX_NUM_CPU_DEVICES=4 python -m examples.pipeline_gpt                                # simulated devices
JAX_NUM_CPU_DEVICES=4 python -m examples.pipeline_gpt --stages 2 --schedule gpipe    # two stages, twice

What changes is the model's list of blocks, which becomes an `nn.Repeat`, and where its arrays lie. The loss and the
loop are those of a model on one device, and so are the numbers and the names in a file of weights.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

import funcnet as fn
from examples.char_gpt import Block, CharGPT, windows
from funcnet import data, nn, optim, parallel


class PipelineGPT(CharGPT):
    """`CharGPT` with its blocks in an `nn.Repeat`; the output layer still is the embedding's weight."""

    blocks: Any

    def __init__(
        self, vocabulary: int, context: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__(vocabulary, context, width, layers, heads, dropout)
        out_std = 0.02 / (2 * layers) ** 0.5
        self.blocks = nn.Repeat(Block(width, heads, dropout, out_std), layers)

    def through_blocks(self, x: jax.Array) -> jax.Array:
        """Apply the blocks."""
        return self.blocks(x)


def loss(net: fn.Functional, params: Any, batch: jax.Array, key: jax.Array) -> jax.Array:
    """Return the loss of texts, with any net: the whole one, or one that is divided."""
    return net.apply(params, {}, batch, key=key, train=True)[0]


def main(arguments: Sequence[str] | None = None) -> list[float]:
    """Train; return the losses."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--microbatches", type=int, default=8)
    parser.add_argument("--schedule", choices=("gpipe", "1f1b", "eager-1f1b"), default="1f1b")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.0)
    args = parser.parse_args(arguments)

    text = data.shakespeare()
    alphabet = {character: i for i, character in enumerate(sorted(set(text)))}
    tokens = np.array([alphabet[character] for character in text], np.int32)
    texts = windows(tokens, args.context, stride=16)
    order = data.RandomSampler(texts, num_samples=args.steps * args.batch_size)
    loader = data.DataLoader(texts, batch_size=args.batch_size, sampler=order)

    # what is left of the devices is for data: each stage has as many as there are parts of the rows
    mesh = parallel.mesh(data=-1, stage=args.stages)
    model = PipelineGPT(
        len(alphabet), args.context, args.width, args.layers, args.heads, args.dropout
    )
    net = parallel.pipeline(
        fn.functionalize(model.loss), mesh, "blocks", microbatches=args.microbatches, rows="data"
    )
    net = parallel.shard(net, mesh, {})
    if args.schedule == "gpipe":
        value_and_grad = jax.value_and_grad(partial(loss, net))
    else:
        value_and_grad = parallel.pipeline_value_and_grad(loss, net, schedule=args.schedule)
    rate = optim.schedules.warmup_cosine(4e-3, max(1, args.steps // 10), args.steps)
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(rate, betas=(0.9, 0.98)))
    optimizer = parallel.shard_optimizer(optimizer, net)

    @jax.jit
    def step(params: Any, opt_state: Any, batch: Any, key: jax.Array) -> tuple[Any, Any, jax.Array]:
        value, grads = value_and_grad(params, batch, key)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state, value

    params, _ = net.init(jax.random.key(0))
    opt_state = optimizer.init(params)
    losses = []
    for number, batch in enumerate(loader):
        batch = jax.device_put(batch["tokens"], parallel.batch_sharding(mesh))
        key = jax.random.fold_in(jax.random.key(1), number)
        params, opt_state, value = step(params, opt_state, batch, key)
        losses.append(float(value))
        if number % 10 == 0 or number == args.steps - 1:
            print(f"step {number}: {losses[-1]:.3f} nats a character", flush=True)
    return losses


if __name__ == "__main__":
    main()
