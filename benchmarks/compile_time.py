"""Compile time of deep models: `python -m benchmarks.compile_time`. The bar is 1.5 times from 2 blocks to 48.

A training step of a stack of transformer blocks is traced, lowered and compiled anew each time: with
`nn.Repeat`, whose program is that of one block, and with `nn.Sequential`, whose program grows.
"""

import argparse
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

import funcnet as fn
from benchmarks.interleave import table
from benchmarks.results_file import ResultsFile, add_json_argument
from funcnet import nn, optim

WIDTH, HEADS, LENGTH, BATCH = 64, 4, 16, 2


def block() -> nn.Module:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True, norm_first=True)


def repeated(depth: int) -> nn.Module:
    return nn.Repeat(block(), depth)


def unrolled(depth: int) -> nn.Module:
    return nn.Sequential(*(block() for _ in range(depth)))


def compile_seconds(model: nn.Module) -> float:
    """Return the processor's seconds that it takes to trace, lower and compile one training step."""
    net, optimizer = fn.functionalize(model), optim.adam(1e-3)
    key = jax.random.key(0)
    params, state = jax.eval_shape(net.init, key)
    opt_state = jax.eval_shape(optimizer.init, params)
    x = jax.ShapeDtypeStruct((BATCH, LENGTH, WIDTH), jnp.float32)

    def step(params: Any, state: Any, opt_state: Any, x: Any, key: Any) -> Any:
        def loss(params: Any) -> Any:
            output, new = net.apply(params, state, x, key=key, train=True)
            return (output**2).mean(), new

        (value, new), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, new_opt = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), new, new_opt, value

    jax.clear_caches()
    started = time.process_time()
    jax.jit(step, donate_argnums=(0, 1, 2)).lower(params, state, opt_state, x, key).compile()
    return time.process_time() - started


def main() -> None:
    """Print the medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs=2, default=[2, 48])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--unrolled-rounds", type=int, default=1, help="0 leaves them out")
    add_json_argument(parser)
    args = parser.parse_args()
    results = ResultsFile(args.json, "compile_time", "processor time")
    shallow, deep = args.depths
    compile_seconds(repeated(2))  # what the first compilation of a process costs
    times: dict[int, list[float]] = {shallow: [], deep: []}
    for _ in range(args.rounds):
        for depth, seconds in times.items():
            seconds.append(compile_seconds(repeated(depth)))
    medians = {f"nn.Repeat, {depth} blocks": statistics.median(t) for depth, t in times.items()}
    for depth in args.depths if args.unrolled_rounds else ():
        seconds = [compile_seconds(unrolled(depth)) for _ in range(args.unrolled_rounds)]
        medians[f"nn.Sequential, {depth} blocks"] = statistics.median(seconds)
    title = f"compile a training step with Adam: transformer blocks of {WIDTH}"
    print(table(title, medians, f"nn.Repeat, {shallow} blocks"))
    results.add(title, medians, f"nn.Repeat, {shallow} blocks")


if __name__ == "__main__":
    main()
