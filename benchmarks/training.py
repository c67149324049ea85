"""What `fit` adds to a loop written by hand around the same step: `python -m benchmarks.training`.

A perceptron whose step takes about a millisecond on a CPU. All sides make the same steps on the same batches, in one
process, in turns drawn anew each round. Runs of two lengths tell what a step takes, and what a run takes to begin and
to end; what counts is the ratio of a step to that of the loop by hand. Goals: nothing on 1.02, a log every 100 steps
0.01 more, all observers on 1.10.
"""

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import funcnet as fn
from benchmarks.interleave import interleave, table
from funcnet import functional as F
from funcnet import nn, optim, training

INPUTS, CLASSES = 784, 10


class Pieces:
    """What all sides train with."""

    def __init__(self, width: int, rows: int) -> None:
        layers = [nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        net = fn.functionalize(nn.Sequential(*layers, nn.Linear(width, CLASSES)))
        self.optimizer = optim.adam(1e-4)
        self.run = training.TrainState.create(net, self.optimizer, jax.random.key(0))
        self.objective = training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        x = jax.random.normal(jax.random.key(1), (rows, INPUTS))
        self.batches = [{"x": x, "y": jnp.arange(rows) % CLASSES}] * 10

    def by_hand(self, steps: int) -> Callable[[], object]:
        """Return the loop that one would write without `fit`."""
        step = jax.jit(training.make_train_step(self.objective, self.optimizer), donate_argnums=0)

        def loop() -> object:
            run, made, metrics = jax.tree.map(jnp.copy, self.run), 0, {}
            while made < steps:
                for batch in self.batches:
                    run, metrics = step(run, batch)
                    made += 1
            return float(metrics["loss"])

        return loop

    def fit(self, steps: int, observers: Sequence[training.Observer] = ()) -> Callable[[], object]:
        """Return a run of `fit`; with the same observers it compiles nothing a second time."""

        def loop() -> object:
            batches = Repeated(self.batches, steps)
            _, history = training.fit(
                self.objective, self.optimizer, self.run, batches, epochs=1, progress=False,
                observers=observers,
            )  # fmt: skip
            return history.records[-1]["train/loss"]

        return loop


class Repeated:
    """Some batches, given out again and again as one epoch."""

    def __init__(self, batches: list[Any], steps: int) -> None:
        self.batches, self.steps = batches, steps

    def __iter__(self) -> Any:
        """Iterate."""
        for _ in range(self.steps // len(self.batches)):
            yield from self.batches


def all_observers(folder: Path) -> list[training.Observer]:
    """Make one of each observer that a run may have on all along."""
    board = importlib.util.find_spec("tensorboard") is not None
    return [
        *([training.TensorBoardLog(folder / "board", every=100)] if board else []),
        training.CSVLog(folder / "log.csv", every=100),
        training.JSONLog(folder / "log.jsonl", every=100),
        training.LearningRate(every=100),
        training.GradientNorms(every=100),
        training.Throughput(every=100, peak=1e12),
        training.EarlyStop("train/loss"),
        training.KeepBest("train/loss"),
    ]


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--processor", action="store_true", help="count the processor time alone")
    args = parser.parse_args()
    pieces = Pieces(args.width, args.rows)
    lengths = (args.steps, 3 * args.steps)
    clock = time.process_time if args.processor else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        sides = {
            f"{label}: {steps}": make(steps)
            for label, make in kinds(pieces, Path(name)).items()
            for steps in lengths
        }
        runs = interleave(sides, rounds=args.rounds, clock=clock)
    labels = [name.rpartition(":")[0] for name in sides][::2]
    short, long = ({label: runs[f"{label}: {steps}"] for label in labels} for steps in lengths)
    each = {label: (long[label] - short[label]) / (2 * args.steps) for label in labels}
    print(table("a step", each, "by hand"))
    begins = {label: short[label] - each[label] * args.steps for label in labels}
    print("a run's beginning and end")
    for label, seconds in begins.items():
        print(f"  {label:<28}{seconds * 1e3:8.1f} ms")


def kinds(pieces: Pieces, folder: Path) -> dict[str, Callable[[int], Callable[[], object]]]:
    """Name what is compared."""
    log = [training.CSVLog(folder / "alone.csv", every=100)]
    every = all_observers(folder)
    return {
        "by hand": pieces.by_hand,
        "fit": pieces.fit,
        "fit, a log every 100 steps": lambda steps: pieces.fit(steps, log),
        "fit, all observers": lambda steps: pieces.fit(steps, every),
    }


if __name__ == "__main__":
    main()
