"""A small model, data parallel over all devices of all processes; it stops at SIGTERM and goes on where it was.

One machine: ``python -m funcnet.parallel.launch --processes 2 --devices-per-process 2 examples/cluster/train.py``
Clusters: the scripts beside this file.
"""

import argparse
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim, parallel

SAMPLES, BATCH = 512, 64


def samples() -> tuple[np.ndarray, np.ndarray]:
    """Points of a plane, and whether they lie in a circle."""
    x = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, 2)).astype(np.float32)
    return x, (np.square(x).sum(1) < 0.5).astype(np.int32)


def rows_of(step: int) -> np.ndarray:
    """Order samples by seed and epoch alone, so that any number of processes sees the same batches."""
    epoch, batch = divmod(step, SAMPLES // BATCH)
    order = np.random.default_rng([1, epoch]).permutation(SAMPLES)
    return order[batch * BATCH : (batch + 1) * BATCH]


def main() -> None:
    """Train, from the latest checkpoint on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", default="runs/cluster")
    parser.add_argument("--step-timeout", type=float, default=300.0)
    asked = parser.parse_args()

    # first: nothing before it may look for devices
    me = parallel.start(step_timeout=asked.step_timeout)
    mesh = parallel.mesh(data=-1)
    spread = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())

    net = fn.functionalize(nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2)))
    optimizer = optim.adam(1e-2)
    objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
    create = jax.jit(
        lambda key: fn.training.TrainState.create(net, optimizer, key), out_shardings=whole
    )
    run = create(jax.random.key(0))
    train_step = jax.jit(fn.training.make_train_step(objective, optimizer), donate_argnums=0)

    x, y = samples()
    share = BATCH // me.count  # this process's part of each batch
    mine = slice(me.index * share, (me.index + 1) * share)
    with fn.checkpoint.Checkpointer(asked.folder, every=50) as checkpointer:
        run = fn.training.resume(checkpointer, run)
        loss = jnp.nan
        for step in range(int(run.step), asked.steps):
            if not parallel.alive(step):  # preempted: all processes come here at the same step
                checkpointer.save(step, {"run": run})
                checkpointer.close()
                print(f"stopped and saved at step {step}")
                sys.exit(os.EX_TEMPFAIL)  # 75: not done; the scripts start it again
            rows = rows_of(step)[mine]
            batch = {"x": x[rows], "y": y[rows]}
            run, metrics = train_step(
                run,
                jax.tree.map(
                    lambda part: jax.make_array_from_process_local_data(spread, part), batch
                ),
            )
            loss = metrics["loss"]
            if jax.default_backend() == "cpu":
                # its collectives hang when a process runs many steps ahead of another; GPUs should run ahead
                jax.block_until_ready(loss)
            if checkpointer.due(step + 1):
                checkpointer.save(step + 1, {"run": run})
    if me.index == 0:
        print(f"{asked.steps} steps on {jax.device_count()} devices, loss {float(loss):.4f}")


if __name__ == "__main__":
    main()
