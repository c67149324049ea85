"""Learn to learn: a start from which three gradient steps on one image of each kind are enough to read the others.

What one learns here: training is a function, so it can be differentiated. The inner steps are `fn.grad`, sixteen tasks
at once are `fn.vmap`, and the outer gradient, through all of it, is what `training.fit` takes of any objective.

python examples/maml.py                   # two minutes on two cores
python examples/maml.py --steps 5000      # goes on from there

Reference: Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning", ICML 2017.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import data, nn, optim, training
from funcnet import functional as F
from funcnet.training.pictures import PALETTE, curve_style, finished, label_axes, new_figure

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
            kinds.append(np.rot90(images, int(rng.integers(4)) * self.turn, (1, 2)))
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


def predict(params: Any, images: jax.Array) -> jax.Array:
    """Map images ``(N, 196)`` to logits ``(N, 3)``."""
    return net.apply(params, {}, images)[0]


def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Return a network's loss on a task's images."""
    return F.cross_entropy(predict(params, images), labels)


def adapt(params: Any, task: Any, steps: int) -> tuple[Any, jax.Array]:
    """Make gradient steps on the images that a task shows; return the network, and its accuracy before each step."""

    def step(params: Any, _: Any) -> tuple[Any, jax.Array]:
        grads = fn.grad(loss)(params, task["shown"], task["shown_label"])
        new = jax.tree.map(lambda old, grad: old - INNER_RATE * grad, params, grads)
        return new, training.accuracy(predict(params, task["asked"]), task["asked_label"])

    return fn.scan(step, params, None, length=steps)


def objective(params: Any, state: Any, batch: Any, key: Any, train: bool) -> Any:
    """Return the loss of adapted networks on what they are asked: the mean over a batch of tasks."""

    def of_task(task: Any) -> dict[str, jax.Array]:
        adapted, _ = adapt(params, task, INNER_STEPS)
        logits = predict(adapted, task["asked"])
        return {
            "loss": F.cross_entropy(logits, task["asked_label"]),
            "accuracy": training.accuracy(logits, task["asked_label"]),
        }

    metrics = jax.tree.map(jnp.mean, fn.vmap(of_task)(batch))
    return metrics["loss"], (metrics, state)


def accuracies(params: Any, tasks: Any) -> np.ndarray:
    """Return the mean accuracy on new tasks after 0, 1, ... 10 gradient steps from some parameters."""
    return np.asarray(jax.jit(fn.vmap(lambda task: adapt(params, task, 11)[1]))(tasks).mean(0))


def draw(curves: dict[str, np.ndarray], params: Any, task: Any, path: Path) -> None:
    """Save how fast new tasks are learned, and what is made of one task."""
    figure, axes = new_figure(1, 2, size=(9, 3.6), grid=False)
    for number, (name, values) in enumerate(curves.items()):
        axes[0, 0].plot(100 * values, label=name, marker="o", markersize=3, **curve_style(number))
    axes[0, 0].axhline(100 / WAYS, color="gray", linewidth=1, label="guessing")
    axes[0, 0].grid(alpha=0.3)
    axes[0, 0].legend(fontsize=7)
    label_axes(axes[0, 0], "300 new tasks", x="gradient steps", y="accuracy (%)")

    images = np.concatenate([task["shown"], task["asked"]]).reshape(-1, WAYS, 14, 14)
    axes[0, 1].imshow(images.transpose(1, 2, 0, 3).reshape(WAYS * 14, -1), cmap="gray_r")
    right = (
        predict(adapt(params, task, INNER_STEPS)[0], task["asked"]).argmax(1) == task["asked_label"]
    )
    for place, good in enumerate(np.asarray(right)):
        column, row = SHOTS + place // WAYS, place % WAYS
        mark = {"color": PALETTE[2 if good else 1], "marker": "o" if good else "x"}
        axes[0, 1].plot(14 * column + 1.5, 14 * row + 1.5, markersize=5, **mark)
    axes[0, 1].axvline(14 * SHOTS - 0.5, color="black")
    axes[0, 1].set(xticks=[], yticks=[], title="left: shown; then: asked (o: read rightly)")
    finished(figure, path)


def main() -> None:
    """Train on tasks, test on tasks of digits that were never seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/maml"))
    args = parser.parse_args()
    fn.keep_memory()

    train, test = data.mnist()
    seen = [kind for kind in range(10) if kind not in UNSEEN]
    tasks = Tasks(train, seen, 200_000, args.seed, turn=True)
    loader = data.DataLoader(tasks, batch_size=16, seed=args.seed)
    unseen = Tasks(test, UNSEEN, 300, args.seed + 1, turn=False)
    optimizer = optim.adam(1e-3)
    run = begun = training.TrainState.create(net, optimizer, jax.random.key(args.seed))
    run, _ = training.fit(
        objective, optimizer, run, loader, steps=args.steps, checkpoint=args.out,
        evaluation=data.DataLoader(unseen, batch_size=100), evaluate_every=500,
    )  # fmt: skip

    known = Tasks(test, seen, 300, args.seed + 1, turn=False)
    known, unseen = (
        data.collate([tasks[index] for index in range(300)]) for tasks in (known, unseen)
    )
    curves = {
        "learned start, kinds trained on": accuracies(run.params, known),
        "learned start, kinds never seen": accuracies(run.params, unseen),
        "random start, kinds trained on": accuracies(begun.params, known),
        "random start, kinds never seen": accuracies(begun.params, unseen),
    }
    print(
        f"new tasks of three kinds, one image of each, {INNER_STEPS} gradient steps: read rightly are"
    )
    for name, values in curves.items():
        print(f"  {name}: {values[INNER_STEPS]:.1%} (after one step {values[1]:.1%})")
    print(
        f"Guessing gives {1 / WAYS:.1%}. Good is 90% for kinds trained on. For kinds never seen expect little: seven\n"
        "are too few to learn from how to read others. The learned start helps in the first steps, and after\n"
        "ten it may be no better than a random one (see the picture)."
    )
    first = jax.tree.map(lambda array: array[0], known)
    draw(curves, run.params, first, args.out / "new_tasks.png")
    print(
        f"go on: python examples/maml.py --steps {2 * args.steps} --seed {args.seed} --out {args.out}"
    )


if __name__ == "__main__":
    main()
