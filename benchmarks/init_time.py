"""How long `net.init` takes where nothing is compiled yet: `python -m benchmarks.init_time`. The bar is 2 s each.

ResNet-50, GPT-2 of 124 M parameters, and 48 blocks of a transformer, on two idle cores. Each turn is a fresh
process without a compilation cache; the second call shows what compilation was. `--own-programs` draws each
array by a program for its shape, as initializers do that tell no recipe, and compares all bits.
"""

import argparse
import subprocess
import sys
import time
from typing import Any

import jax
import numpy as np

import funcnet as fn
from examples.models.gpt2 import GPT2, GPT2Config
from examples.models.resnet import resnet
from funcnet import nn
from funcnet.module import initialize

MODELS = {
    "ResNet-50": lambda: resnet(50),
    "GPT-2": lambda: GPT2(GPT2Config()),
    "48 blocks": lambda: nn.Sequential(
        *(nn.TransformerEncoderLayer(256, 4, batch_first=True) for _ in range(48))
    ),
}


def timed(name: str, init: Any, seed: int) -> Any:
    """Print how long an init takes; return what it made."""
    key = jax.block_until_ready(jax.random.key(seed))
    began, worked = time.perf_counter(), time.process_time()
    arrays = jax.block_until_ready(init(key))
    seconds, work = time.perf_counter() - began, time.process_time() - worked
    print(f"  {name:<13} {seconds:6.2f} s, {work:6.2f} s of the processors", flush=True)
    return arrays


def different(left: Any, right: Any) -> int:
    """Count the arrays that differ in a bit."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return sum(np.asarray(a).tobytes() != np.asarray(b).tobytes() for a, b in pairs)


def measure(model: str, own_programs: bool) -> None:
    """Print the times of one model, in this process."""
    net = fn.functionalize(MODELS[model]())
    arrays = timed("first", net.init, 0)
    size = sum(leaf.size for leaf in jax.tree.leaves(arrays[0]))
    if not own_programs:
        del arrays
        timed("again", net.init, 1)
        print(f"  {model}: {size / 1e6:.0f} M parameters", flush=True)
        return
    initialize.threefry_words = lambda key: None
    print(
        f"  {model}: {different(arrays, timed('own programs', net.init, 0))} arrays differ",
        flush=True,
    )


def main() -> None:
    """Print a block for each model and turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--own-programs", action="store_true")
    parser.add_argument("--here", action="store_true", help="one turn, in this process")
    args = parser.parse_args()
    if args.here:
        measure(args.models[0], args.own_programs)
        return
    flags = ["--own-programs"] if args.own_programs else []
    for _ in range(args.rounds):
        for model in args.models:
            command = [sys.executable, "-m", "benchmarks.init_time", "--here", "--models", model]
            subprocess.run([*command, *flags], check=True)


if __name__ == "__main__":
    main()
