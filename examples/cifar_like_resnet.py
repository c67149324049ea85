"""Train a small ResNet on pictures of clothes, by the recipe that image models are trained with today.

python examples/cifar_like_resnet.py               # Fashion-MNIST of Debian's dataset-fashion-mnist
python examples/cifar_like_resnet.py --data DIR    # its four IDX files, raw or gzipped

Where neither is there it takes the embedded digits. What one learns: images that are shifted and mirrored as they are
loaded, a learning rate that warms up and falls as a cosine, an average of the parameters that is better than the last
ones (EMA), computation in 16 bits around parameters in 32, and a run that goes on where it stopped.
"""

import argparse
import shlex
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

import funcnet as fn
from funcnet import checkpoint, data, nn, optim, training
from funcnet import functional as F
from funcnet.data import augment

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLOTHES = [
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
]
GOOD = {
    "clothes": "A linear model reaches 84 %, people who label them 83.5 %, large networks trained for hours 96 %.",
    "digits": "Of 5,000 digits the nearest neighbour learns 94 %, a good network 99 %.",
}


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        same = stride == 1 and inputs == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, width, 1, stride, bias=False)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, inputs, H, W)`` to ``(N, width, H / stride, W / stride)``."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Sequential):
    """A stem that halves the image, three blocks, the mean over the image and a linear head."""

    def __init__(self, width: int = 32, classes: int = 10) -> None:
        super().__init__(
            nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            Block(width, width, 1),
            Block(width, 2 * width, 2),
            Block(2 * width, 4 * width, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, classes),
        )


def images_of(batch: dict) -> jax.Array:
    """Scale a batch's bytes, with a channel axis."""
    return (batch["image"].astype(jnp.float32)[:, None] - 75) / 85


def main() -> None:
    """Train, evaluate, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DEBIAN if DEBIAN.exists() else None)
    parser.add_argument("--epochs", type=int, help="default: 3, or 20 on the embedded digits")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--lr", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--precision", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/cifar_like_resnet"))
    args = parser.parse_args()
    epochs = args.epochs or (3 if args.data else 20)
    fn.keep_memory()

    train, test = data.mnist(args.data)
    mirror = [augment.RandomHorizontalFlip()] if args.data else []  # a mirrored digit is none
    loader = data.DataLoader(
        train,
        batch_size=args.batch_size,
        shuffle=True,
        drop_last=True,
        seed=args.seed,
        num_workers=1,
        transforms=[augment.On("image", augment.RandomCrop(28, padding=2), *mirror)],
    )
    test_loader = data.DataLoader(test, batch_size=500)

    model = ResNet(args.width)
    net = fn.functionalize(model)
    # most CPUs have no arithmetic of 16 bits: there it would be slower
    if args.precision == "bfloat16" or (
        args.precision == "auto" and jax.default_backend() != "cpu"
    ):
        net = fn.mixed_precision(net)
    steps = epochs * len(loader)
    rate = optim.schedules.warmup_cosine(args.lr, steps // 10, steps)
    adamw = optim.adamw(rate, weight_decay=0.05)
    optimizer = optim.average(
        adamw, decay=0.99, start=steps // 2
    )  # early parameters would spoil it
    objective = training.supervised(
        net, F.cross_entropy, inputs=images_of, metrics={"accuracy": training.accuracy}
    )
    run = training.TrainState.create(net, optimizer, jax.random.key(args.seed))
    run, history = training.fit(
        objective,
        optimizer,
        run,
        loader,
        epochs=epochs,
        evaluation=test_loader,
        observers=[training.Throughput(every=50), training.CSVLog(args.out / "log.csv", every=50)],
        checkpoint=args.out / "checkpoints",
    )
    average = run.opt_state.average
    last = training.evaluate(objective, run, test_loader)["accuracy"]
    logits = training.predict(net, average, run.state, test_loader, inputs=images_of)
    accuracy = (logits.argmax(1) == test[:]["label"]).mean()
    print(f"\ntest accuracy: {accuracy:.2%} (of the last parameters, not averaged: {last:.2%})")
    print(GOOD["clothes" if args.data else "digits"])

    training.plot(history, args.out / "curves.png", log="loss")
    names = CLOTHES if args.data else None
    images, labels = test[:]["image"], test[:]["label"]
    training.pictures.worst_mistakes(
        images, labels, logits, args.out / "mistakes.png", names=names, columns=8
    )
    checkpoint.save_weights(args.out / "model.safetensors", model, average, run.state)
    print(f"saved model.safetensors, log.csv, curves.png and mistakes.png in {args.out}")
    print("train on:", shlex.join(["python", *sys.argv, "--epochs", str(2 * epochs)]))


if __name__ == "__main__":
    main()
