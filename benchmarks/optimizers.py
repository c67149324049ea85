"""A whole AdamW update against Optax and PyTorch: `python -m benchmarks.optimizers`.

The gradients are given; a step updates moments and parameters, all of them donated or in place. The
sides take turns, so ratios hold on a busy machine. ``GB/s`` counts what AdamW has to move, seven
numbers an element; the triad ``a = b + c * s`` moves three and shows what the machine can do.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from benchmarks.interleave import choose_clock, interleave
from benchmarks.results_file import ResultsFile, add_json_argument
from funcnet import optim

CASES = {
    "10 leaves of 32x32": (10, (32, 32)),
    "100 leaves of 32x32": (100, (32, 32)),
    "1000 leaves of 16x16": (1000, (16, 16)),
    "one leaf of 2048x2048": (1, (2048, 2048)),
}
LR, WEIGHT_DECAY = 1e-3, 1e-2


def jax_side(optimizer: Any, apply: Callable[..., Any], leaves: list[np.ndarray]) -> Any:
    """Return a step of a pair (init, update), and the seconds that it took to compile."""
    params = {f"layer_{i}": jnp.array(x) for i, x in enumerate(leaves)}
    grads = jax.tree.map(lambda x: 0.1 * x, params)

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = optimizer.update(grads, state, params)
        return apply(params, updates), state

    jitted = jax.jit(step, donate_argnums=(0, 1))
    held = [params, jax.jit(optimizer.init)(params)]
    started = time.perf_counter()
    held[:] = jax.block_until_ready(jitted(*held, grads))
    seconds = time.perf_counter() - started

    def run() -> None:
        held[:] = jitted(*held, grads)
        jax.block_until_ready(held)

    return run, seconds


def torch_side(leaves: list[np.ndarray], compiled: bool) -> Any:
    """Return a step of ``torch.optim.AdamW``, eager (foreach) or through ``torch.compile``."""
    import torch

    tensors = [torch.tensor(x, requires_grad=True) for x in leaves]
    for tensor in tensors:
        tensor.grad = 0.1 * tensor.detach()
    optimizer = torch.optim.AdamW(tensors, lr=LR, weight_decay=WEIGHT_DECAY, foreach=True)
    step = torch.compile(optimizer.step, fullgraph=False) if compiled else optimizer.step
    started = time.perf_counter()
    step()
    return step, time.perf_counter() - started


def triad_side(size: int) -> Callable[[], None]:
    """Return ``a = b + c * s`` over large arrays."""
    b, c = jnp.ones(size), jnp.full(size, 2.0)
    triad = jax.jit(lambda b, c: b + c * 3.0)
    return lambda: jax.block_until_ready(triad(b, c))


def sides(leaves: list[np.ndarray], with_compiled: bool) -> dict[str, Any]:
    """Build all contestants; those whose library is not installed stay out."""
    ours = optim.adamw(LR, weight_decay=WEIGHT_DECAY)
    found: dict[str, Any] = {
        "funcnet": jax_side(ours, optim.apply_updates, leaves),
        "funcnet, packed": jax_side(optim.packed(ours), optim.apply_updates, leaves),
    }
    try:
        import optax

        theirs = optax.adamw(LR, weight_decay=WEIGHT_DECAY)
        found["optax"] = jax_side(theirs, optax.apply_updates, leaves)
    except ImportError:
        print("optax is not installed: left out")
    try:
        found["torch foreach"] = torch_side(leaves, compiled=False)
        if with_compiled:
            found["torch.compile"] = torch_side(leaves, compiled=True)
    except ImportError:
        print("torch is not installed: left out")
    return found


def main() -> None:
    """Print a table a case: milliseconds, ratio to Optax, bandwidth, seconds to compile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--no-torch-compile", dest="compiled", action="store_false")
    parser.add_argument("--one-core", action="store_true", help="processor time on one core")
    add_json_argument(parser)
    args = parser.parse_args()
    clock, said = choose_clock(args.one_core)
    results = ResultsFile(args.json, "optimizers", said)
    # PyTorch's threads would otherwise spin on after its turn and slow down the side that follows.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    fn.keep_memory()
    rng = np.random.default_rng(0)
    for name in args.cases:
        count, shape = CASES[name]
        leaves = [rng.normal(size=shape).astype(np.float32) for _ in range(count)]
        size = sum(x.size for x in leaves)
        # PyTorch's compiler takes minutes for a thousand leaves.
        contestants = sides(leaves, args.compiled and count <= 100)
        runs = {side: run for side, (run, _) in contestants.items()}
        # A turn of several calls: the first finds the caches as the side before left them.
        repeat = 20 if count <= 10 else 5
        medians = interleave(runs, rounds=args.rounds, repeat=repeat, clock=clock)
        elements = max(size, 1 << 22)
        triad = 12 * elements / interleave({"triad": triad_side(elements)})["triad"]
        reference = medians.get("optax", medians["funcnet"])
        print(f"{name}; triad {triad / 1e9:.1f} GB/s")
        results.add(f"AdamW, {name}", medians, "optax" if "optax" in medians else "funcnet")
        for side, seconds in medians.items():
            print(
                f"  {side:<16} {seconds * 1e3:8.3f} ms  {seconds / reference:5.2f} of optax"
                f"  {28 * size / seconds / 1e9:6.1f} GB/s  first call {contestants[side][1]:.2f} s"
            )


if __name__ == "__main__":
    main()
