"""An LSTM against plain JAX and PyTorch: ``python -m benchmarks.layers_recurrent``.

Batch 32, 128 steps, 256 units, on one thread, the sides in turn.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false " + os.environ.get("XLA_FLAGS", "")

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from benchmarks.interleave import interleave, table
from funcnet import nn

STEPS, BATCH, UNITS = 128, 32, 256


def _plain(params, x):
    """Run the textbook cell: four activations, everything saved for the gradient."""
    projected = x @ params["weight_ih_l0"].T + params["bias_ih_l0"] + params["bias_hh_l0"]

    def step(state, gates):
        h, c = state
        i, f, g, o = jnp.split(gates + h @ params["weight_hh_l0"].T, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[1], UNITS))
    return jax.lax.scan(step, (zeros, zeros), projected)[1]


def main() -> None:
    import torch

    torch.set_num_threads(1)
    net = fn.functionalize(nn.LSTM(UNITS, UNITS))
    params, state = net.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (STEPS, BATCH, UNITS))
    layer = torch.nn.LSTM(UNITS, UNITS)
    tx = torch.tensor(np.asarray(x), requires_grad=True)

    def ours(params, x):
        return net.apply(params, state, x)[0][0]

    def forward(function):
        run = jax.jit(function)
        return lambda: jax.block_until_ready(run(params, x))

    def both(function):
        run = jax.jit(jax.grad(lambda params, x: jnp.sum(function(params, x) ** 2), (0, 1)))
        return lambda: jax.block_until_ready(run(params, x))

    def theirs_forward():
        with torch.no_grad():
            layer(tx)

    sides = {"funcnet": forward(ours), "plain JAX": forward(_plain), "PyTorch": theirs_forward}
    print(table("LSTM, forward", interleave(sides, rounds=9), "plain JAX"))
    sides = {
        "funcnet": both(ours),
        "plain JAX": both(_plain),
        "PyTorch": lambda: (layer(tx)[0] ** 2).sum().backward(),
    }
    print(table("LSTM, gradients", interleave(sides, rounds=9), "plain JAX"))


if __name__ == "__main__":
    main()
