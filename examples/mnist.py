"""Train a small convolutional network on handwritten digits, from data to saved weights.

python examples/mnist.py                  # the 5,000 embedded digits
python examples/mnist.py --data DIR       # full MNIST: the four IDX files, raw or gzipped
python examples/mnist.py --keep DIR       # keep a checkpoint an epoch in DIR; the same command goes on from there
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np

import funcnet as fn
from funcnet import checkpoint, data, nn, optim, training
from funcnet import functional as F

mpl.use("Agg")
import matplotlib.pyplot as plt


class RandomShift(nn.Module):
    """While training, move each image by up to ``pixels`` in both directions."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images ``(N, C, H, W)`` to images of the same shape."""
        if not self.training:
            return x
        reach = self.pixels
        edges = ((0, 0), (0, 0), (reach, reach), (reach, reach))
        padded = jnp.pad(x, edges, constant_values=x.min())
        corners = jax.random.randint(self.next_key(), (x.shape[0], 2), 0, 2 * reach + 1)

        def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (0, corner[0], corner[1]), x.shape[1:])

        return jax.vmap(crop)(padded, corners)


class DigitNet(nn.Module):
    """Two convolutions with batch norm, pooling and dropout, and a linear head."""

    def __init__(self) -> None:
        self.shift = RandomShift(2)
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(64)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(64 * 7 * 7, 10)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images ``(N, 1, 28, 28)`` to logits ``(N, 10)``."""
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(self.shift(x)))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        return self.head(self.dropout(x.reshape(x.shape[0], -1)))


def images_of(batch: dict) -> jax.Array:
    """Scale a batch's bytes to MNIST's mean 0 and deviation 1, with a channel axis."""
    return ((batch["image"].astype(jnp.float32) / 255 - 0.1307) / 0.3081)[:, None]


def draw_curves(history: training.History, path: Path) -> None:
    """Save the learning curves."""
    epochs = history.series("epoch")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axes, name in ((left, "loss"), (right, "accuracy")):
        for split, label in (("train", "training"), ("eval", "test")):
            if any(f"{split}/{name}" in record for record in history.records):
                values = history.series(f"{split}/{name}")
                axes.plot(epochs[: len(values)], values, marker="o", markersize=3, label=label)
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
    left.set_yscale("log")
    figure.suptitle("MNIST: learning curves")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_mistakes(
    images: np.ndarray, labels: np.ndarray, predicted: np.ndarray, path: Path
) -> None:
    """Save the test digits that the network got wrong, at most 40, with both labels."""
    wrong = np.flatnonzero(predicted != labels)
    shown = wrong[:40]
    rows = max(1, -(-len(shown) // 5))  # five in a row can be read on a phone
    figure, grid = plt.subplots(
        rows, 5, figsize=(6.5, 1.5 * rows + 0.4), layout="constrained", squeeze=False
    )
    for axes in grid.flat:
        axes.axis("off")
    for axes, index in zip(grid.flat, shown, strict=False):
        axes.imshow(images[index], cmap="gray_r")
        axes.set_title(f"{labels[index]} read as {predicted[index]}", fontsize=11)
    figure.suptitle(f"{len(wrong)} of {len(labels)} test digits read wrongly")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Train, evaluate, save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="a folder with MNIST's IDX files (default: the embedded digits)"
    )
    parser.add_argument(
        "--epochs", type=int, help="default: 12 on the embedded digits, 8 on full MNIST"
    )
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder of checkpoints to go on from")
    parser.add_argument("--out", type=Path, default=Path("runs/mnist"))
    args = parser.parse_args()
    epochs = args.epochs or (8 if args.data else 12)
    fn.keep_memory()

    train, test = data.mnist(args.data)
    loader = data.DataLoader(
        train, batch_size=args.batch_size, shuffle=True, drop_last=True, seed=args.seed
    )
    test_loader = data.DataLoader(test, batch_size=500)

    model = DigitNet()
    print(fn.summary(model, (args.batch_size, 1, 28, 28)), end="\n\n")

    net = fn.functionalize(model)
    steps = epochs * len(loader)
    optimizer = optim.adamw(
        optim.schedules.warmup_cosine(args.lr, steps // 10, steps), weight_decay=0.05
    )
    objective = training.supervised(
        net, F.cross_entropy, inputs=images_of, metrics={"accuracy": training.accuracy}
    )
    run = training.TrainState.create(net, optimizer, jax.random.key(args.seed))

    def report(run: training.TrainState, record: dict) -> None:
        print(
            f"epoch {record['epoch']:2}  training loss {record['train/loss']:.4f}, accuracy "
            f"{record['train/accuracy']:.2%}  test loss {record['eval/loss']:.4f}, accuracy "
            f"{record['eval/accuracy']:.2%}  {record['seconds']:.1f} s",
            flush=True,
        )

    started = time.monotonic()
    run, history = training.fit(
        objective,
        optimizer,
        run,
        loader,
        epochs=epochs,
        evaluation=test_loader,
        on_epoch=report,
        checkpoint=args.keep,
    )
    stopped = ", stopped by Ctrl-C: what was reached is saved" if history.interrupted else ""
    print(f"\ntrained for {time.monotonic() - started:.1f} s{stopped}")
    print(f"test accuracy: {training.evaluate(objective, run, test_loader)['accuracy']:.2%}")

    predict = jax.jit(
        lambda batch: net.apply(run.params, run.state, images_of(batch))[0].argmax(-1)
    )
    predicted = np.concatenate([predict(batch) for batch in test_loader])
    draw_curves(history, _in(args.out, "curves.png"))
    digits = test[:]
    draw_mistakes(digits["image"], digits["label"], predicted, _in(args.out, "mistakes.png"))
    saved = checkpoint.save_weights(args.out / "model.safetensors", model, run.params, run.state)
    print(f"saved {saved}, {args.out / 'curves.png'} and {args.out / 'mistakes.png'}")


def _in(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


if __name__ == "__main__":
    main()
