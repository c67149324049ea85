"""What the machinery of `parallel` costs: its step against one written by hand, on 1, 2 and 4 simulated devices.

    JAX_NUM_CPU_DEVICES=4 python -m benchmarks.parallel
    JAX_NUM_CPU_DEVICES=4 python -m benchmarks.parallel --width 512 --blocks 4 --rounds 30

Both sides train the same multilayer perceptron with Adam in this process and take turns. By hand: `jax.jit` with
`in_shardings` and `out_shardings`, a loss and an Adam in plain JAX. Samples are as many for each device (weak
scaling); simulated devices share the processor, so that the time of a device grows with their number on both sides:
the ratio is what counts. Times are of the processor, because others may use the machine.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")

import argparse
import time

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from benchmarks.interleave import interleave
from funcnet import functional as F
from funcnet import nn, optim, parallel

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def model(width, blocks):
    layers = [part for _ in range(blocks) for part in (nn.Linear(width, width), nn.GELU())]
    return fn.functionalize(nn.Sequential(*layers, nn.Linear(width, 8)))


def batch_of(width, rows, mesh):
    x = jax.random.normal(jax.random.key(1), (rows, width))
    batch = {"x": x, "y": jnp.zeros(rows, jnp.int32)}
    return jax.device_put(batch, parallel.batch_sharding(mesh))


def with_funcnet(width, blocks, mesh, rules):
    net = parallel.shard(model(width, blocks), mesh, rules)
    optimizer = parallel.shard_optimizer(optim.adam(RATE), net)
    objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    step = jax.jit(fn.training.make_train_step(objective, optimizer), donate_argnums=0)
    return step, fn.training.TrainState.create(net, optimizer, jax.random.key(0))


def by_hand(width, blocks, mesh, rules):
    key, _ = jax.random.split(jax.random.key(0))  # as a TrainState does
    params, _ = model(width, blocks).init(key)
    names = sorted(params, key=int)

    def loss_of(params, batch):
        x = batch["x"]
        for name in names:
            x = x @ params[name]["weight"].T + params[name]["bias"]
            x = x if name == names[-1] else jax.nn.gelu(x, approximate=False)
        picked = jnp.take_along_axis(jax.nn.log_softmax(x), batch["y"][:, None], 1)
        return -picked.mean()

    def step(run, batch):
        params, first, second, count = run
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        count = count + 1
        first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, grads)
        second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, grads)
        short = count.astype(jnp.float32)

        def move(p, m, v):
            m, v = m / (1 - BETA1**short), v / (1 - BETA2**short)
            return p - RATE * m / (jnp.sqrt(v) + EPSILON)

        return (jax.tree.map(move, params, first, second), first, second, count), {"loss": loss}

    def lies(leaf):
        fits = rules and leaf.ndim == 2 and leaf.size >= 1024 and leaf.shape[0] % mesh.size == 0
        return NamedSharding(mesh, PartitionSpec("data") if fits else PartitionSpec())

    whole = NamedSharding(mesh, PartitionSpec())
    spread = jax.tree.map(lies, params)
    shardings = (spread, spread, spread, whole)
    rows = parallel.batch_sharding(mesh)
    zeros = jax.tree.map(jnp.zeros_like, params)
    run = (params, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.int32))
    jitted = jax.jit(
        step,
        in_shardings=(shardings, {"x": rows, "y": rows}),
        out_shardings=(shardings, {"loss": whole}),
        donate_argnums=0,
    )
    return jitted, jax.device_put(run, shardings)


class Side:
    """A step with the run that it changes."""

    def __init__(self, made, batch):
        (self.step, self.run), self.batch = made, batch

    def __call__(self):
        """Make a step and wait for it."""
        self.run, metrics = self.step(self.run, self.batch)
        return jax.block_until_ready(metrics)


def compare(width, blocks, rows, rounds, devices, rules):
    mesh = parallel.mesh(data=devices, devices=jax.devices()[:devices])
    batch = batch_of(width, rows * devices, mesh)
    sides = {
        "funcnet": Side(with_funcnet(width, blocks, mesh, rules), batch),
        "by hand": Side(by_hand(width, blocks, mesh, rules), batch),
    }
    losses = {name: float(side()["loss"]) for name, side in sides.items()}
    medians = interleave(sides, rounds=rounds, clock=time.process_time)
    same = abs(losses["funcnet"] - losses["by hand"]) < 1e-5
    return medians["funcnet"], medians["by hand"], same


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--rows", type=int, default=256, help="samples of a device")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    print(f"{'way':<15}{'devices':>8}{'funcnet':>12}{'by hand':>12}{'ratio':>8}")
    for name, rules in (
        ("data parallel", {}),
        ("fully sharded", {"*.weight": parallel.fsdp()}),
    ):
        for devices in (1, 2, 4):
            ours, hand, same = compare(
                given.width, given.blocks, given.rows, given.rounds, devices, rules
            )
            times = f"{ours * 1e3:9.2f} ms{hand * 1e3:9.2f} ms{ours / hand:8.3f}"
            print(f"{name:<15}{devices:>8}{times}{'' if same else '  OTHER LOSS'}", flush=True)


if __name__ == "__main__":
    main()
