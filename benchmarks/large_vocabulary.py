"""The loss of a large vocabulary, beside the plain form: ``python -m benchmarks.large_vocabulary``.

Value and gradients of features, weight and bias of ``F.linear_cross_entropy``, which cuts the batch, and of
``F.cross_entropy`` of all logits at once. By default at a small size; ``--samples 8192 --width 768 --classes 50304``
is GPT-2's. The bars: 1.05 of the time, 0.4 of the memory.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from benchmarks.interleave import interleave, table
from funcnet import functional as F


def _plain(x: Any, weight: Any, bias: Any, y: Any) -> Any:
    return F.cross_entropy(F.linear(x, weight, bias), y)


def _ours(rows: int | None, acc_dtype: Any = None) -> Callable[..., Any]:
    options = F.LinearCrossEntropyOptions(batch_chunk_size=rows, acc_dtype=acc_dtype)

    def loss(x: Any, weight: Any, bias: Any, y: Any) -> Any:
        return F.linear_cross_entropy(x, weight, y, linear_bias=bias, options=options)

    return loss


def main() -> None:
    """Print times and memory, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=8192)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--classes", type=int, default=16384)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rows", type=int, nargs="*", default=[], help="other sizes of a chunk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-only", action="store_true", help="compile and do not run")
    args = parser.parse_args()
    fn.keep_memory()
    rng = np.random.default_rng(0)
    shapes = {
        "x": (args.samples, args.width),
        "w": (args.classes, args.width),
        "b": (args.classes,),
    }
    arrays = [jnp.asarray(rng.normal(size=s, scale=0.05), args.dtype) for s in shapes.values()]
    labels = jnp.asarray(rng.integers(0, args.classes, args.samples), jnp.int32)
    forms = {"all logits at once": _plain, "linear_cross_entropy": _ours(None)}
    if args.dtype == "bfloat16":
        forms["logits of 16 bits"] = _ours(None, jnp.bfloat16)
    forms |= {f"chunks of {rows}": _ours(rows) for rows in args.rows}
    compiled = {
        name: jax.jit(jax.value_and_grad(form, (0, 1, 2))).lower(*arrays, labels).compile()
        for name, form in forms.items()
    }
    sizes = {name: run.memory_analysis().temp_size_in_bytes for name, run in compiled.items()}
    print("temporary arrays")
    for name, size in sizes.items():
        print(f"  {name:22} {size / 2**20:9.1f} MiB  {size / sizes['all logits at once']:6.2f}")
    if args.memory_only:
        return
    sides = {
        name: lambda run=run: jax.block_until_ready(run(*arrays, labels))
        for name, run in compiled.items()
    }
    medians = interleave(sides, rounds=args.rounds)
    print(table("value and gradients", medians, "all logits at once"))


if __name__ == "__main__":
    main()
