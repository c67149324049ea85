"""Recurrent layers against plain JAX and PyTorch: ``python -m benchmarks.layers_recurrent``.

On a CPU 128 steps of 256 units, batch 32, on one thread; on a GPU the longer sequences that the size of a block of
steps was chosen for. The sides take turns; ratios are to PyTorch, where it is installed.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false " + os.environ.get("XLA_FLAGS", "")

import contextlib

import jax
import jax.numpy as jnp

import funcnet as fn
from benchmarks.interleave import interleave, table
from funcnet import nn
from funcnet.functional.recurrent import loop

ON_GPU = jax.default_backend() == "gpu"
BLOCKS = (1, 4, 8, 16, 32) if ON_GPU else (1, 4)
SIZES = {
    "RNN": (256, 64, 256) if ON_GPU else (128, 32, 256),
    "LSTM": (256, 64, 256) if ON_GPU else (128, 32, 256),
    "GRU": (128, 64, 512) if ON_GPU else (128, 32, 256),
}
"""Steps, batch, units."""


def _plain(params, x):
    """Run the textbook LSTM: four activations, differentiated by JAX."""
    projected = x @ params["weight_ih_l0"].T + params["bias_ih_l0"] + params["bias_hh_l0"]

    def step(state, gates):
        h, c = state
        i, f, g, o = jnp.split(gates + h @ params["weight_hh_l0"].T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros(x.shape[1:])
    return jax.lax.scan(step, (zeros, zeros), projected)[1]


def _compiled(function, gradient, params, x):
    if gradient:
        output = function
        function = jax.grad(lambda params, x: jnp.sum(output(params, x) ** 2), (0, 1))
    run = jax.jit(function).lower(params, x).compile()
    return lambda: jax.block_until_ready(run(params, x))


def _ours(kind, gradient):
    """Return the sides of this project: blocks of several sizes, and for the LSTM plain JAX."""
    steps, batch, units = SIZES[kind]
    net = fn.functionalize(getattr(nn, kind)(units, units))
    params, state = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (steps, batch, units))
    chosen, sides = loop.steps_in_a_block, {}
    for block in BLOCKS:
        loop.steps_in_a_block = lambda mode, block=block: block
        run = _compiled(lambda params, x: net.apply(params, state, x)[0][0], gradient, params, x)
        sides[f"funcnet, blocks of {block}"] = run
    loop.steps_in_a_block = chosen
    if kind == "LSTM":
        sides["plain JAX"] = _compiled(_plain, gradient, params, x)
    return sides


def _theirs(kind, gradient):
    import torch

    torch.set_num_threads(1)
    device = "cuda" if ON_GPU else "cpu"
    steps, batch, units = SIZES[kind]
    layer = getattr(torch.nn, kind)(units, units).to(device)
    x = torch.randn(steps, batch, units, device=device, requires_grad=gradient)

    def run():
        layer.zero_grad(set_to_none=True)
        x.grad = None
        with torch.set_grad_enabled(gradient):
            output = layer(x)[0]
            if gradient:
                (output**2).sum().backward()
        if ON_GPU:
            torch.cuda.synchronize()

    return run


def main() -> None:
    fn.keep_memory()
    for kind in SIZES:
        for gradient in (False, True):
            sides, reference = _ours(kind, gradient), "funcnet, blocks of 1"
            with contextlib.suppress(ImportError):
                sides["PyTorch"], reference = _theirs(kind, gradient), "PyTorch"
            title = f"{kind}, {'gradients' if gradient else 'forward'}"
            print(table(title, interleave(sides, rounds=9), reference))


if __name__ == "__main__":
    main()
