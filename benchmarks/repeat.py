"""Repeated blocks, kept and computed again: `python -m benchmarks.repeat [width ...]`.

Twelve transformer blocks, unrolled and as `nn.Repeat` with each choice of ``remat``; then steps of `nn.Scan`. Printed
are the memory that the compiled step takes beside its arguments and results, which no other work on the machine
changes, and the medians of times taken in turns.

On a GPU `python -m benchmarks.gpu --only gpt2` has both forms of a whole step; `benchmarks/results` has its tables.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import funcnet as fn
from benchmarks.interleave import interleave, table
from benchmarks.results_file import ResultsFile, add_json_argument
from funcnet import functional as F
from funcnet import nn

LAYERS, HEADS, BATCH, LENGTH = 12, 4, 8, 128


class Block(nn.Module):
    """A transformer's block, before its attention and its two products a layer norm each."""

    def __init__(self, width: int, p: float = 0.0) -> None:
        self.norms = [nn.LayerNorm(width), nn.LayerNorm(width)]
        self.into, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(p)

    def __call__(self, x: Any) -> Any:
        """Apply the block."""
        batch, length, width = x.shape
        heads = self.into(self.norms[0](x)).reshape(batch, length, 3, HEADS, width // HEADS)
        query, key, value = jnp.moveaxis(heads, (2, 3), (0, 2))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.drop(self.out(jnp.swapaxes(mixed, 1, 2).reshape(x.shape)))
        return x + self.drop(self.down(F.gelu(self.up(self.norms[1](x)), "tanh")))


class Cell(nn.Module):
    """A step that is written out: two products, and gates that are cheap."""

    def __init__(self, width: int) -> None:
        self.input, self.hidden = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width)

    def __call__(self, carry: Any, x: Any) -> Any:
        """Take the step."""
        hidden, cell = carry
        keep_in, keep, new, out = jnp.split(self.input(x) + self.hidden(hidden), 4, -1)
        cell = F.sigmoid(keep) * cell + F.sigmoid(keep_in) * F.tanh(new)
        hidden = F.sigmoid(out) * F.tanh(cell)
        return (hidden, cell), hidden


class Library(nn.Module):
    """The same step by `nn.LSTMCell`."""

    def __init__(self, width: int) -> None:
        self.cell = nn.LSTMCell(width, width)

    def __call__(self, carry: Any, x: Any) -> Any:
        """Take the step."""
        hidden, cell = self.cell(x, carry)
        return (hidden, cell), hidden


def step(module: nn.Module, *inputs: Any, train: bool = False) -> tuple[Callable[[], Any], float]:
    """Return a call of the compiled value and gradient, and its memory in MiB."""
    net = fn.functionalize(module)
    params, state = net.init(jax.random.key(0))
    call = {"key": jax.random.key(1), "train": True} if train else {}

    def loss(params: Any, *inputs: Any) -> Any:
        output = net.apply(params, state, *inputs, **call)[0]
        return jnp.square(jax.tree.leaves(output)[-1]).mean()

    compiled = jax.jit(jax.value_and_grad(loss)).lower(params, *inputs).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return lambda: jax.block_until_ready(compiled(params, *inputs)), memory


def compare(
    results: ResultsFile,
    title: str,
    modules: dict[str, nn.Module],
    *inputs: Any,
    train: bool = False,
) -> None:
    """Print time and memory of each module; the first is the reference."""
    made = {name: step(module, *inputs, train=train) for name, module in modules.items()}
    memory = {name: used for name, (_, used) in made.items()}
    runs = {name: run for name, (run, _) in made.items()}
    medians = interleave(runs, rounds=9, clock=time.process_time)
    print(table(title, medians, next(iter(runs)), memory), flush=True)
    results.add(title, medians, next(iter(runs)), mebibytes=memory)


def main() -> None:
    """Compare the blocks at each width, without dropout and with it, then the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("widths", nargs="*", type=int, default=[128, 256])
    add_json_argument(parser)
    args = parser.parse_args()
    results = ResultsFile(args.json, "repeat", "processor time")
    for width in args.widths:
        for p in (0.0, 0.1):
            blocks: dict[str, nn.Module] = {
                "unrolled": nn.Sequential(*(Block(width, p) for _ in range(LAYERS))),
                "costly": nn.Repeat(Block(width, p), LAYERS),
                "costly, unroll=2": nn.Repeat(Block(width, p), LAYERS, unroll=2),
                "False": nn.Repeat(Block(width, p), LAYERS, remat=False),
                "True": nn.Repeat(Block(width, p), LAYERS, remat=True),
            }
            x = jax.random.normal(jax.random.key(2), (BATCH, LENGTH, width))
            compare(results, f"{LAYERS} blocks of {width}, dropout {p}", blocks, x, train=p > 0)
    carry, xs = (jnp.zeros((32, 128)),) * 2, jax.random.normal(jax.random.key(2), (64, 32, 128))
    for cell in (Cell, Library):
        choices: dict[str, nn.Module] = {
            str(remat): nn.Scan(cell(128), remat=remat) for remat in (False, "costly", True)
        }
        compare(results, f"64 steps of 128, {cell.__name__}", choices, carry, xs)


if __name__ == "__main__":
    main()
