"""A run of a few steps that all tests of the loop share, so that its step is compiled once; and observers that note."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import optim, training
from tests.training.models import Model, mse

ROWS, EPOCHS, BATCHES = 4, 2, 5
METHODS = ["on_start", "on_step", "on_evaluation", "on_epoch", "on_report", "on_end"]


def make_batches(count=BATCHES):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((count, ROWS, 3), np.float32)
    return [{"x": rows, "y": rows[:, :2] * 3} for rows in x]


@cache
def pieces():
    net, optimizer = fn.functionalize(Model(3)), optim.adam(0.05)
    return training.supervised(net, mse, inputs="x", targets="y"), optimizer


def start():
    objective, optimizer = pieces()
    return training.TrainState.create(objective.net, optimizer, jax.random.key(1))


def fit(batches=None, run=None, **options):
    objective, optimizer = pieces()
    if not {"epochs", "steps", "seconds"} & options.keys():
        options["epochs"] = EPOCHS
    options = {"progress": False, **options}
    batches = make_batches() if batches is None else batches
    return training.fit(
        options.pop("objective", objective), optimizer, start() if run is None else run, batches, **options
    )  # fmt: skip


def equal(one, other):
    one, other = jax.tree.leaves(one), jax.tree.leaves(other)
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), strict=True)


def records_of(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history.records]


class Recorder(training.Observer):
    """Notes each call with its step, and what it read."""

    every = 2

    def __init__(self, every=2, log=None, name="a"):
        self.every, self.name = every, name
        self.log = [] if log is None else log
        self.calls = []
        self.read = {}
        self.counted = 0
        self.end = None

    def _note(self, method, loop):
        self.calls.append((method, loop.step))
        self.log.append((self.name, method, loop.step))

    def on_start(self, loop):
        self._note("on_start", loop)

    def on_step(self, loop):
        self._note("on_step", loop)
        self.counted += 1
        self.read[loop.step] = loop.metrics

    def on_evaluation(self, loop):
        self._note("on_evaluation", loop)

    def on_epoch(self, loop):
        self._note("on_epoch", loop)

    def on_report(self, loop):
        self._note("on_report", loop)

    def on_end(self, loop):
        self._note("on_end", loop)
        self.end = (loop.error, loop.interrupted, loop.reason)

    def state_dict(self):
        return {"counted": self.counted, "name": self.name}

    def load_state_dict(self, kept):
        assert kept["name"] == self.name
        self.counted = kept["counted"]
