"""Learn to learn: a network that reads digits it has never seen, after three gradient steps on one image of each.

What one learns here: training is a function, so it can be differentiated. The inner steps are `fn.grad`, eight tasks at
once are `fn.vmap`, and the outer gradient, which goes through all of it, is what `training.fit` takes of any objective.

python examples/maml.py                   # two minutes on two cores
python examples/maml.py --epochs 40       # goes on from there

Reference: Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning", ICML 2017.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np

import funcnet as fn
from funcnet import data, nn, optim, training
from funcnet import functional as F

mpl.use("Agg")
import matplotlib.pyplot as plt

WAYS, SHOTS, QUERIES, INNER_STEPS, INNER_RATE = 3, 1, 8, 3, 0.1
UNSEEN = (2, 4, 7)


class Tasks:
    """A dataset of tasks: three kinds of digits under numbers that say nothing, few images of each to learn from.

    In the tasks to train on, each kind is turned by a quarter circle or more, at random: four times as many kinds.
    """

    def __init__(self, digits: Any, kinds: Any, count: int, seed: int, turn: bool) -> None:
        digits = digits[:]
        small = digits["image"].reshape(-1, 14, 2, 14, 2).mean((2, 4)) / 255
        self.images = {kind: small[digits["label"] == kind].astype(np.float32) for kind in kinds}
        self.count, self.seed, self.turn = count, seed, turn

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((self.seed, index))
        kinds = []
        for kind in rng.permutation(list(self.images))[:WAYS]:
            images = rng.choice(self.images[kind], SHOTS + QUERIES, replace=False)
            kinds.append(np.rot90(images, rng.integers(4) * self.turn, (1, 2)))
        images, labels = (
            np.stack(kinds, 1),
            np.broadcast_to(np.arange(WAYS), (SHOTS + QUERIES, WAYS)),
        )
        return {
            "shown": images[:SHOTS].reshape(-1, 14 * 14),
            "shown_label": labels[:SHOTS].reshape(-1),
            "asked": images[SHOTS:].reshape(-1, 14 * 14),
            "asked_label": labels[SHOTS:].reshape(-1),
        }


net = fn.functionalize(
    nn.Sequential(
        nn.Linear(14 * 14, 256),
        nn.LayerNorm(256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.LayerNorm(128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.LayerNorm(64),
        nn.ReLU(),
        nn.Linear(64, WAYS),
    )
)


def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Return a network's loss on a task's images."""
    return F.cross_entropy(net.apply(params, {}, images)[0], labels)


def adapt(params: Any, task: Any, steps: int = INNER_STEPS) -> Any:
    """Make gradient steps on the images that a task shows; ordinary code, so `fn.grad` goes through it."""
    for _ in range(steps):
        grads = fn.grad(loss)(params, task["shown"], task["shown_label"])
        params = jax.tree.map(lambda old, grad: old - INNER_RATE * grad, params, grads)
    return params


def objective(params: Any, state: Any, batch: Any, key: Any, train: bool) -> Any:
    """Return the loss of adapted networks on what they are asked: the mean over a batch of tasks."""

    def of_task(task: Any) -> dict[str, jax.Array]:
        adapted = adapt(params, task)
        logits = net.apply(adapted, {}, task["asked"])[0]
        return {
            "loss": F.cross_entropy(logits, task["asked_label"]),
            "accuracy": training.accuracy(logits, task["asked_label"]),
        }

    metrics = jax.tree.map(jnp.mean, fn.vmap(of_task)(batch))
    return metrics["loss"], (metrics, state)
