"""Mixed precision on the embedded digits: accuracy over seeds, and the memory that a step needs.

    python benchmarks/precision.py [--epochs 10] [--seeds 3] [--batch 64]

Accuracy and XLA's own count of a compiled step's temporaries, for float32, bfloat16, and float16 with a loss scale.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import data, nn, optim, training
from funcnet import functional as F

KINDS = {"float32": None, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


def model():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 196, 10),
    )


def train(kind, seed, epochs, batch, digits):
    net = fn.functionalize(model())
    if KINDS[kind] is not None:
        net = fn.mixed_precision(net, KINDS[kind])
    scale = training.dynamic_loss_scale() if kind == "float16" else None
    optimizer = optim.adam(1e-3)
    run = training.TrainState.create(net, optimizer, jax.random.key(seed), loss_scale=scale)
    objective = training.supervised(
        net, F.cross_entropy, inputs="x", targets="y", metrics={"accuracy": training.accuracy}
    )
    step = training.make_train_step(objective, optimizer, loss_scale=scale)
    images, labels = digits
    count = 5000
    first = {"x": images[:batch], "y": labels[:batch]}
    compiled = jax.jit(step, donate_argnums=0).lower(run, first).compile()
    order = np.random.default_rng(seed)
    for _ in range(epochs):
        rows = order.permutation(count)
        for start in range(0, count - batch + 1, batch):
            chosen = rows[start : start + batch]
            run, _ = compiled(run, {"x": images[chosen], "y": labels[chosen]})
    last = {"x": images[count:], "y": labels[count:]}
    accuracy = float(training.make_eval_step(objective)(run, last)["accuracy"])
    return accuracy, compiled.memory_analysis().temp_size_in_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("epochs", 10), ("seeds", 3), ("batch", 64)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    digits = load()
    base = None
    print(f"{'computes in':12}  accuracy over seeds     temporaries  of float32")
    for kind in KINDS:
        made = [train(kind, seed, given.epochs, given.batch, digits) for seed in range(given.seeds)]
        accuracies, bytes_ = [one[0] for one in made], made[0][1]
        base = base or bytes_
        spread = f"{np.mean(accuracies):.2%} ± {np.std(accuracies):.2%}"
        print(f"{kind:12}  {spread:22}  {bytes_ / 2**20:8.2f} MiB  {bytes_ / base:10.2f}")


def load():
    """Return the 5,000 digits to train on, and after them the 1,000 to judge by."""
    parts = [part[:] for part in data.mnist()]
    images = np.concatenate([part["image"] for part in parts]).astype(np.float32) / 255
    return images.reshape(-1, 1, 28, 28), np.concatenate([part["label"] for part in parts])


if __name__ == "__main__":
    main()
