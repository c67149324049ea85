"""What funcnet adds to a training step of hand-written JAX: `python -m benchmarks.step_overhead`.

Deep stacks of small linear layers, where nothing but overhead takes time. Both sides are jitted with
donation, use Adam, and take turns; the bar is a ratio of 1.05.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import funcnet as fn
from benchmarks.interleave import choose_clock, interleave, table
from benchmarks.results_file import ResultsFile, add_json_argument
from funcnet import functional as F
from funcnet import nn, optim

WIDTH, BATCH, LR = 64, 32, 1e-3


def funcnet_side(depth: int, x: jax.Array, y: jax.Array) -> Callable[[], object]:
    layers = [layer for _ in range(depth) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    net = fn.functionalize(nn.Sequential(*layers))
    params, state = net.init(jax.random.key(0))
    optimizer = optim.adam(LR)
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params: Any, opt_state: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            return F.mse_loss(net.apply(params, state, x, train=True)[0], y)

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state, value

    return _runner(step, params, opt_state)


def plain_side(depth: int, x: jax.Array, y: jax.Array) -> Callable[[], object]:
    net = fn.functionalize(nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(depth))))
    params = list(net.init(jax.random.key(0))[0].values())
    moments = (
        jax.tree.map(jnp.zeros_like, params),
        jax.tree.map(jnp.zeros_like, params),
        jnp.int32(0),
    )

    @jax.jit
    def step(params: Any, moments: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            h = x
            for layer in params:
                h = jax.nn.relu(h @ layer["weight"].T + layer["bias"])
            return jnp.mean((h - y) ** 2)

        value, grads = jax.value_and_grad(loss)(params)
        first, second, count = moments
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        scale1, scale2 = 1 - 0.9**count, 1 - 0.999**count

        def move(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            return p - LR * (m / scale1) / (jnp.sqrt(v / scale2) + 1e-8)

        return jax.tree.map(move, params, first, second), (first, second, count), value

    return _runner(step, params, moments)


def _runner(step: Callable[..., Any], params: Any, opt_state: Any) -> Callable[[], object]:
    held = [params, opt_state]

    def run() -> object:
        held[0], held[1], value = step(*held)
        jax.block_until_ready(held)
        return value

    return run


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--one-core", action="store_true", help="processor time on one core")
    add_json_argument(parser)
    args = parser.parse_args()
    clock, said = choose_clock(args.one_core)
    results = ResultsFile(args.json, "step_overhead", said)
    fn.keep_memory()
    x, y = jnp.ones((BATCH, WIDTH)), jnp.zeros((BATCH, WIDTH))
    for depth in args.depths:
        medians = interleave(
            {"hand-written JAX": plain_side(depth, x, y), "funcnet": funcnet_side(depth, x, y)},
            rounds=args.rounds,
            clock=clock,
        )
        title = f"{depth} linear layers of {WIDTH}, Adam, batch {BATCH}"
        print(table(title, medians, "hand-written JAX"))
        results.add(title, medians, "hand-written JAX")


if __name__ == "__main__":
    main()
