"""A small run, ended in each way there is, and observers of each kind."""

import importlib.util
import itertools
import signal

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import functional as F
from funcnet import nn, optim
from funcnet.training import Observer

NET = fn.functionalize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
OPTIMIZER = optim.adam(0.01)
OBJECTIVE = fn.training.supervised(
    NET, F.cross_entropy, inputs="x", targets="y", metrics={"accuracy": fn.training.accuracy}
)
HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


def by_hand(params, state, batch, key, train):
    outputs, state = NET.apply(params, state, batch["x"], train=train)
    loss = F.cross_entropy(outputs, batch["y"])
    return loss, ({"loss": loss}, state)


def new_run(optimizer=OPTIMIZER, seed=0):
    return fn.training.TrainState.create(NET, optimizer, jax.random.key(seed))


def batches(number=5, rows=8, seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "x": rng.standard_normal((rows, 4)).astype(np.float32),
            "y": rng.integers(0, 2, rows).astype(np.int32),
        }
        for _ in range(number)
    ]


def look(run):
    return {
        "norm": optim.global_norm(run.params),
        "note": "a note",
        "weights": run.params["0"]["weight"],
        "bias": run.params["0"]["bias"],
    }


def makers(folder):
    """Every observer by name, as functions of nothing that make one with files in a folder."""
    T = fn.training
    found = {
        "CSVLog": lambda: T.CSVLog(folder / "log.csv", every=2),
        "JSONLog": lambda: T.JSONLog(folder / "log.jsonl", every=2),
        "EarlyStop": lambda: T.EarlyStop("train/loss", patience=100, every=2),
        "KeepBest": lambda: T.KeepBest("train/loss", folder / "best"),
        "Checkpoints": lambda: T.Checkpoints(folder / "copies", every=3, seconds=100),
        "LearningRate": lambda: T.LearningRate(every=2),
        "GradientNorms": lambda: T.GradientNorms(every=2, ratios=True),
        "Throughput": lambda: T.Throughput(every=2, peak=1e12, tokens="x"),
        "Profile": lambda: T.Profile(folder / "trace", first=2, steps=2),
        "LivePlot": lambda: T.LivePlot(folder / "plot.png", every=2, seconds=1000),
        "Samples": lambda: T.Samples(look, every=2),
    }
    if HAS_TENSORBOARD:
        found["TensorBoardLog"] = lambda: T.TensorBoardLog(
            folder / "events", every=2, histograms="*", settings={"width": 8}
        )
    return found


class At(Observer):
    """Do something after a step."""

    every = 1

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step(self, loop):
        if loop.step == self.step:
            self.action(loop)


def fail(loop):
    raise RuntimeError("on purpose")


def interrupt(loop):
    signal.raise_signal(signal.SIGINT)


def stop(loop):
    loop.stop("enough")


def fit(observers, optimizer=OPTIMIZER, objective=OBJECTIVE, run=None, **options):
    options = {"epochs": 2, "evaluation": batches(2, seed=1)} | options
    if options.get("steps"):
        del options["epochs"]
    run = new_run(optimizer) if run is None else run
    data = options.pop("batches", None) or batches()
    return fn.training.fit(
        objective, optimizer, run, data, observers=observers, progress=False, **options
    )


def forever():
    return itertools.cycle(batches())


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)
