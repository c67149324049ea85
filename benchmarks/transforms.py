"""Transforms in time and memory: `python -m benchmarks.transforms [jacobian microbatches guard]`.

- `jacobian`: chunked `jacrev` and `vmap` against PyTorch's with the same chunk; each side alone in a
  process, peak resident memory beyond what it had before the first call (and after compiling).
- `microbatches`: peak memory of the gradient of a four-layer transformer in 8 parts against the whole
  batch (bar: 0.3), from the compiler's own account.
- `guard`: a training step under `nan_guard` against the same step without (bar: 1.05). Memory is kept
  (`fn.keep_memory()`) for both sides: a program with a host callback frees its buffers on another thread,
  and refaulting their pages would drown what is measured.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.interleave import interleave, table
from benchmarks.results_file import ResultsFile, add_json_argument
from funcnet import transforms
from funcnet.transforms.compilation.keep_memory import keep_memory

SIDE = """
import json, resource, sys, time
import numpy as np

rng = np.random.default_rng(0)
w1, w2 = (rng.normal(size=(1024, 1024)).astype(np.float32) / 32 for _ in range(2))
x = rng.normal(size=1024).astype(np.float32)
xs = rng.normal(size=(256, 1024)).astype(np.float32)
which, side = sys.argv[1:]
if side == "funcnet":
    import jax, jax.numpy as lib
    from funcnet import transforms as func
    wait = jax.block_until_ready
    w1, w2, x, xs = map(lib.asarray, (w1, w2, x, xs))
    compiled = lambda function: lambda *arguments: func.jit(function).lower(*arguments).compile()
else:
    import torch as lib
    from torch import func
    lib.set_num_threads(2)
    wait = lambda value: value
    w1, w2, x, xs = map(lib.tensor, (w1, w2, x, xs))
    compiled = lambda function: lambda *arguments: function

def f(w, x):
    return lib.tanh(w2 @ lib.tanh(w @ x))

if which == "jacrev":
    function, arguments = func.jacrev(lambda x: f(w1, x), chunk_size=64), (x,)
else:  # per-sample gradients, reduced to a norm: the vmap of a gradient, in chunks
    norm = lambda w, x: (func.grad(lambda w, x: f(w, x).sum())(w, x) ** 2).sum()
    function, arguments = func.vmap(norm, (None, 0), chunk_size=16), (w1, xs)
run = compiled(function)(*arguments)
wait(w1 @ w1)  # the allocator and the threads warm up on something else
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
wait(run(*arguments))
times = []
for _ in range(7):
    started = time.perf_counter()
    wait(run(*arguments))
    times.append(time.perf_counter() - started)
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps([sorted(times)[3], peak]))
"""


def jacobian(rounds: int, results: ResultsFile) -> None:
    """Compare chunked transforms with PyTorch's."""
    for which in ("jacrev", "vmap"):
        found: dict[str, list[list[float]]] = {"funcnet": [], "torch": []}
        for _ in range(rounds):
            for side, turns in found.items():
                command = [sys.executable, "-c", SIDE, which, side]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                turns.append(json.loads(output))
        best = {side: min(turns) for side, turns in found.items()}
        times = {side: seconds for side, (seconds, _) in best.items()}
        memory = {side: peak for side, (_, peak) in best.items()}
        results.add(f"{which}, in chunks", times, "torch", mebibytes=memory)
        for side, (seconds, peak) in best.items():
            time_ratio, peak_ratio = seconds / best["torch"][0], peak / best["torch"][1]
            print(
                f"{which:<8} {side:<8} {seconds * 1e3:8.1f} ms ({time_ratio:.2f})"
                f" {peak:8.1f} MB ({peak_ratio:.2f})"
            )


WIDTH, HEADS, LAYERS, TOKENS, VOCABULARY = 128, 4, 4, 64, 256


def transformer() -> tuple[Any, Any]:
    """Return the parameters and the loss of a small transformer, written out."""
    keys = iter(jax.random.split(jax.random.key(0), 64))

    def weight(*shape: int) -> jax.Array:
        return jax.random.normal(next(keys), shape) * shape[-1] ** -0.5

    layers = [
        {
            "qkv": weight(3 * WIDTH, WIDTH),
            "out": weight(WIDTH, WIDTH),
            "up": weight(4 * WIDTH, WIDTH),
            "down": weight(WIDTH, 4 * WIDTH),
        }
        for _ in range(LAYERS)
    ]
    params = {"layers": layers, "embed": weight(VOCABULARY, WIDTH)}

    def normed(x: jax.Array) -> jax.Array:
        return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6)

    def attention(layer: Any, x: jax.Array) -> jax.Array:
        split = (x @ layer["qkv"].T).reshape(*x.shape[:2], 3, HEADS, -1)
        q, k, v = split[:, :, 0], split[:, :, 1], split[:, :, 2]
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * (WIDTH // HEADS) ** -0.5
        scores = jnp.where(jnp.tril(jnp.ones((TOKENS, TOKENS), bool)), scores, -1e9)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
        return mixed.reshape(x.shape) @ layer["out"].T

    def loss(params: Any, batch: jax.Array) -> jax.Array:
        x = params["embed"][batch]
        for number, layer in enumerate(params["layers"]):
            with jax.named_scope(f"layers.{number}"):
                x = x + attention(layer, normed(x))
                x = x + jax.nn.gelu(normed(x) @ layer["up"].T) @ layer["down"].T
        logits = jax.nn.log_softmax(normed(x) @ params["embed"].T)
        return -jnp.take_along_axis(logits[:, :-1], batch[:, 1:, None], -1).mean()

    return params, loss


def batch_of(size: int) -> jax.Array:
    """Return random tokens."""
    return jax.random.randint(jax.random.key(1), (size, TOKENS), 0, VOCABULARY)


def microbatches(rounds: int, results: ResultsFile) -> None:
    """Print the temporary memory of the gradient, in parts and whole."""
    params, loss = transformer()
    batch = batch_of(64)
    sizes, sides = {}, {}
    for parts in (None, 8):
        run = jax.jit(transforms.value_and_grad(loss, microbatches=parts))
        compiled = run.lower(params, batch).compile()
        account = compiled.memory_analysis()
        sizes[parts] = account.temp_size_in_bytes + account.output_size_in_bytes
        sides["whole batch" if parts is None else f"{parts} microbatches"] = (
            lambda compiled=compiled: jax.block_until_ready(compiled(params, batch))
        )
    print(
        f"peak memory, whole batch {sizes[None] / 2**20:.1f} MB, 8 microbatches "
        f"{sizes[8] / 2**20:.1f} MB: ratio {sizes[8] / sizes[None]:.3f}"
    )
    medians = interleave(sides, rounds=rounds, clock=time.process_time)
    names = {None: "whole batch", 8: "8 microbatches"}
    memory = {names[parts]: size / 2**20 for parts, size in sizes.items()}
    print(table("value and gradient", medians, "whole batch", memory))
    results.add("value and gradient", medians, "whole batch", mebibytes=memory)


def guard(rounds: int, results: ResultsFile) -> None:
    """Time a training step with and without the guard."""
    params, loss = transformer()
    batch = batch_of(16)

    def step(params: Any, batch: jax.Array) -> Any:
        value, grads = jax.value_and_grad(loss)(params, batch)
        return jax.tree.map(lambda p, g: p - 0.01 * g, params, grads), value

    sides = {}
    for name, fun in {"plain": step, "nan_guard": transforms.nan_guard(step)}.items():
        compiled = jax.jit(fun, donate_argnums=0)
        state = {"params": jax.tree.map(jnp.copy, params)}

        def run(compiled: Any = compiled, state: Any = state) -> None:
            state["params"], value = compiled(state["params"], batch)
            value.block_until_ready()

        sides[name] = run
    medians = interleave(sides, rounds=rounds, clock=time.process_time)
    print(table("training step, donated", medians, "plain"))
    results.add("training step, donated", medians, "plain")


def main() -> None:
    """Run the parts that are asked for."""
    keep_memory()
    parts = {"jacobian": jacobian, "microbatches": microbatches, "guard": guard}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(parts)}; default: all")
    parser.add_argument("--rounds", type=int, default=15)
    add_json_argument(parser)
    arguments = parser.parse_args()
    results = ResultsFile(arguments.json, "transforms", "processor time; jacobians: wall clock")
    for name in arguments.parts or parts:
        if name not in parts:
            parser.error(f"no part {name!r}; there are: {', '.join(parts)}")
        rounds = max(2, arguments.rounds // 5) if name == "jacobian" else arguments.rounds
        parts[name](rounds, results)


if __name__ == "__main__":
    main()
