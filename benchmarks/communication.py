"""Bytes that devices exchange in a step, and the loss that it costs: `python -m benchmarks.communication`.

A small network learns the embedded digits on four simulated devices, by every way of communicating that
`funcnet.parallel` has. All see the same batches with the same optimizer; ``plain`` is ``jax.jit`` with a batch
that is spread over the devices. Bytes are those handed to all-reduces, read from the program: of the compiled
one for ``plain``, else of what is asked of a GPU, because on CPUs 16-bit sums are taken in 32 bits. Several seeds
show what is noise.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "4")

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import funcnet as fn
from benchmarks.collectives import Collective, compiled_collectives, lowered_collectives
from funcnet import data, nn, optim, parallel, training
from funcnet import functional as F

BATCH, PARTS, EVERY = 128, 4, 10
SMALLER = 0.02  # the outer momentum lengthens steps up to 0.7 / (1 - 0.9) times


def network() -> fn.module.Functional:
    return fn.functionalize(
        nn.Sequential(
            nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
        )
    )


def inner(lr: float = 0.05) -> Any:
    return optim.sgd(lr, momentum=0.9)


@dataclass
class Way:
    """One way to train: a step on global arrays or on replicas, and how many steps share an exchange."""

    optimizer: Any
    step: Callable[..., Any]
    replicas: bool = False
    compiled: bool = False
    every: int = 1


def ways(objective: Any, mesh: Any) -> dict[str, Way]:
    """All contestants by name."""

    def loss(params: Any, state: Any, batch: Any) -> Any:
        value, (metrics, state) = objective(params, state, batch, None, True)
        return value, (state, metrics)

    def global_step(gradient: Callable[..., Any]) -> Callable[..., Any]:
        def step(run: Any, batch: Any) -> Any:
            (_, (state, metrics)), grads = gradient(run.params, run.state, batch)
            updates, opt_state = optimizer.update(grads, run.opt_state, run.params)
            params = optim.apply_updates(run.params, updates)
            return training.TrainState(params, state, opt_state, run.step + 1, run.key), metrics

        return step

    def reduced(**options: Any) -> Way:
        gradient = parallel.reduced_value_and_grad(
            loss, mesh, has_aux=True, threaded="state", **options
        )
        return Way(optimizer, global_step(gradient))

    def local(optimizer: Any, every: int = 1) -> Way:
        step = parallel.local_step(training.make_train_step(objective, optimizer), mesh)
        return Way(optimizer, step, replicas=True, every=every)

    def plain(**options: Any) -> Way:
        gradient = fn.value_and_grad(loss, has_aux=True, **options)
        return Way(optimizer, global_step(gradient), compiled=True)

    optimizer = inner()
    return {
        "plain": plain(),
        f"plain, {PARTS} microbatches": plain(microbatches=PARTS, threaded="state"),
        f"reduced once, {PARTS} microbatches": reduced(microbatches=PARTS),
        "reduced once in bfloat16": reduced(microbatches=PARTS, reduce_dtype=jnp.bfloat16),
        "average_gradients": local(optim.chain(parallel.average_gradients(), inner())),
        "powersgd, rank 4": local(optim.chain(parallel.powersgd(4), inner())),
        "powersgd, rank 1": local(optim.chain(parallel.powersgd(1), inner())),
        f"local SGD, every {EVERY}": local(
            parallel.diloco(inner(), optim.sgd(1.0), every=EVERY), EVERY
        ),
        f"diloco, every {EVERY}": local(parallel.diloco(inner(SMALLER), every=EVERY), EVERY),
        f"diloco, every {EVERY}, bfloat16": local(
            parallel.diloco(inner(SMALLER), every=EVERY, reduce_dtype=jnp.bfloat16), EVERY
        ),
    }


def batches(images: Any, labels: Any, steps: int, seed: int) -> Iterator[Any]:
    """Yield batches of shuffled epochs."""
    rng, order = np.random.default_rng(seed), np.zeros(0, int)
    for _ in range(steps):
        if len(order) < BATCH:
            order = rng.permutation(len(images))
        rows, order = order[:BATCH], order[BATCH:]
        yield {"image": images[rows], "label": labels[rows]}


def flat(images: Any) -> Any:
    return np.float32(images.reshape(len(images), -1)) / 255 - 0.13


def bytes_of(way: Way, step: Any, run: Any, batch: Any) -> float:
    """Bytes that a step hands to all-reduces, without single numbers such as the loss."""
    if way.compiled:
        found = compiled_collectives(step.lower(run, batch).compile().as_text())
    else:
        found = lowered_collectives(step.trace(run, batch))

    def times(one: Collective) -> int:
        return PARTS if one.in_loop else 1

    return sum(one.bytes * times(one) for one in found if one.bytes > 16) / way.every


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="names that contain this")
    args = parser.parse_args()
    mesh, net = parallel.mesh(data=-1), network()
    train, test = data.mnist()
    images, labels = flat(train[:]["image"]), train[:]["label"]
    learned = {"image": images, "label": labels}
    held_out = {"image": flat(test[:]["image"]), "label": test[:]["label"]}
    objective = training.supervised(net, F.cross_entropy, metrics={"accuracy": training.accuracy})
    evaluate = jax.jit(training.make_eval_step(objective))
    everywhere, rows = (
        NamedSharding(mesh, spec) for spec in (PartitionSpec(), PartitionSpec("data"))
    )
    print(
        f"{mesh.size} devices, batch {BATCH}, {args.steps} steps, {args.seeds} seeds, JAX {jax.__version__}"
    )
    print(
        f"{'':32} {'bytes/step':>10} {'of plain':>8}   training loss    test loss        accuracy",
        flush=True,
    )
    whole = sum(4 * leaf.size for leaf in jax.tree.leaves(net.init(jax.random.key(0))[0]))
    for name, way in ways(objective, mesh).items():
        if args.only not in name:
            continue
        step = jax.jit(way.step, donate_argnums=0)
        results = []
        for seed in range(args.seeds):
            run = training.TrainState.create(net, way.optimizer, jax.random.key(seed))
            run = (
                parallel.make_replicas(run, mesh)
                if way.replicas
                else jax.device_put(run, everywhere)
            )
            for number, batch in enumerate(batches(images, labels, args.steps, seed)):
                batch = jax.device_put(batch, rows)
                if number == 0 and seed == 0:
                    sent = bytes_of(way, step, run, batch)
                run, metrics = step(run, batch)
                # simulated devices share few threads: steps that wait in line can block one another for good
                jax.block_until_ready(metrics)
            merged = parallel.merge_replicas(run) if way.replicas else run
            merged = jax.device_get(merged)
            seen, metrics = evaluate(merged, learned), evaluate(merged, held_out)
            results.append(
                [float(seen["loss"]), float(metrics["loss"]), float(metrics["accuracy"])]
            )
        means, spreads = np.mean(results, 0), np.std(results, 0)
        losses = "  ".join(f"{means[i]:.4f} ± {spreads[i]:.4f}" for i in (0, 1))
        print(
            f"{name:32} {sent:>10,.0f} {sent / whole:>8.1%}   {losses}  {means[2]:.2%} ± {spreads[2]:.2%}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
