"""Train a generator and a discriminator against each other, until the one draws the digits one asks for.

What one learns here: two networks with an optimizer each are one tree of parameters, one objective and one
ordinary `training.fit`. `optim.groups` gives each player its optimizer, `fn.stop_gradient` hides from each
loss the player that it must not move, and `optim.average` keeps the generator that is drawn with.

python examples/gan.py                    # two minutes on two cores
python examples/gan.py --epochs 48        # goes on from there
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
from funcnet.training.pictures import finished, new_figure

LATENT = 64


class Generator(nn.Module):
    """Map noise ``(N, 64)`` and labels ``(N,)`` to images ``(N, 1, 28, 28)`` between -1 and 1."""

    def __init__(self) -> None:
        self.layers = nn.Sequential(
            nn.Linear(LATENT + 10, 64 * 7 * 7),
            nn.Unflatten(1, (64, 7, 7)),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 32 * 4, 3, padding=1),
            nn.PixelShuffle(2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 8 * 4, 3, padding=1),
            nn.PixelShuffle(2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 1, 3, padding=1),
            nn.Tanh(),
        )

    def __call__(self, noise: jax.Array, label: jax.Array) -> jax.Array:
        """Draw."""
        return self.layers(jnp.concatenate([noise, jax.nn.one_hot(label, 10)], 1))


class Discriminator(nn.Module):
    """Map images and labels ``(N,)`` to how real they look ``(N, 1)``: it has a score for each digit."""

    def __init__(self) -> None:
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(64 * 7 * 7, 10),
        )

    def __call__(self, images: jax.Array, label: jax.Array) -> jax.Array:
        """Score."""
        return jnp.take_along_axis(self.layers(images), label[:, None], 1)


generator, discriminator = fn.functionalize(Generator()), fn.functionalize(Discriminator())
players = {"generator": generator.module, "discriminator": discriminator.module}
net = fn.functionalize(nn.ModuleDict(players))  # what is initialised, trained and kept as one


def images_of(batch: Any) -> jax.Array:
    """Scale bytes to between -1 and 1, with a channel axis."""
    return (batch["image"].astype(jnp.float32) / 127.5 - 1)[:, None]


def objective(params: Any, state: Any, batch: Any, key: Any, train: bool) -> Any:
    """Return the sum of both players' losses, each blind to the other's parameters."""
    real, label = images_of(batch), batch["label"]
    noise_key, *keys = jax.random.split(key, 3)
    noise = jax.random.normal(noise_key, (len(real), LATENT))
    drawing = params["generator"], state["generator"]
    fake, buffers = generator.apply(*drawing, noise, label, train=train)

    def score(judge: Any, images: jax.Array, key: Any) -> jax.Array:
        return discriminator.apply(judge, {}, images, label, key=key, train=train)[0]

    judge = params["discriminator"]
    on_real = score(judge, real, keys[0])
    on_fake = score(judge, fn.stop_gradient(fake), keys[1])  # moves the discriminator alone
    fooled = score(fn.stop_gradient(judge), fake, keys[1])  # moves the generator alone
    losses = {
        "discriminator": F.softplus(-on_real).mean() + F.softplus(on_fake).mean(),
        "generator": F.softplus(-fooled).mean(),
        "told_apart": ((on_real > 0).mean() + (on_fake < 0).mean()) / 2,
    }
    loss = losses["discriminator"] + losses["generator"]
    return loss, (losses, state | {"generator": buffers})


def train_judge(train: Any, seed: int) -> Any:
    """Train a classifier of real digits; return what maps images to its features ``(N, 64)`` and probabilities."""
    trunk = [nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 4, stride=2)]
    features = nn.Sequential(*trunk, nn.ReLU(), nn.Flatten(), nn.Linear(32 * 6 * 6, 64), nn.ReLU())
    judge = fn.functionalize(nn.Sequential(features, nn.Linear(64, 10)))
    optimizer = optim.adamw(2e-3)
    run = training.TrainState.create(judge, optimizer, jax.random.key(seed))
    goal = training.supervised(judge, F.cross_entropy, inputs=images_of)
    loader = data.DataLoader(train, batch_size=100, shuffle=True, seed=seed)
    run, _ = training.fit(goal, optimizer, run, loader, epochs=5, progress=False)

    @jax.jit
    def read(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        model: Any = fn.bind(judge.module, run.params, run.state)
        seen = model[0](images)
        return seen, jax.nn.softmax(model[1](seen))

    return read


def frechet_distance(a: Any, b: Any) -> float:
    """Measure how far apart two sets of features are: the Fréchet distance between Gaussians fitted to them."""
    means, covariances = [a.mean(0), b.mean(0)], [np.cov(a.T), np.cov(b.T)]
    joint = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)).sum()
    return float(((means[0] - means[1]) ** 2).sum() + sum(map(np.trace, covariances)) - 2 * joint)


def save_picture(drawn: Any, real: Any, path: Path) -> None:
    """Save ten drawings of each digit beside ten real ones."""
    figure, panels = new_figure(1, 2, size=(9, 4.8), grid=False)
    for axes, images, title in zip(panels[0], (drawn, real), ("drawn", "real"), strict=True):
        rows = np.asarray(images).reshape(10, 10, 28, 28).swapaxes(1, 2).reshape(280, 280)
        axes.imshow(rows, cmap="gray_r", vmin=-1, vmax=1)
        axes.set(title=title, xticks=[], yticks=np.arange(14, 280, 28), yticklabels=range(10))
    finished(figure, path)


def main() -> None:
    """Train, draw, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/gan"))
    args = parser.parse_args()
    fn.keep_memory()

    train, test = data.mnist()
    loader = data.DataLoader(train, batch_size=64, shuffle=True, drop_last=True, seed=args.seed)
    adam = optim.adam(5e-4, betas=(0.5, 0.999))
    optimizers = {"generator.*": adam, "discriminator.*": adam}
    optimizer = optim.average(optim.groups(optimizers), 0.995)
    run = training.TrainState.create(net, optimizer, jax.random.key(args.seed))
    run, _ = training.fit(
        objective, optimizer, run, loader, epochs=args.epochs, checkpoint=args.out
    )

    test = test[np.argsort(test[:]["label"], kind="stable")]  # one digit after another
    label, real = test["label"], images_of(test)
    noise = jax.random.normal(jax.random.key(args.seed + 1), (len(label), LATENT))
    averaged, buffers = run.opt_state.average["generator"], run.state["generator"]
    # BatchNorm remembers means of the last parameters, not of their average: the drawings' own are right
    drawn, _ = generator.apply(averaged, buffers, noise, label, train=True)
    read = train_judge(train, args.seed)
    reference, _ = read(images_of(train[:]))
    for name, images in (("drawn", drawn), ("real ", real)):
        features, probabilities = read(images)
        print(
            f"{name} digits: the classifier reads {(probabilities.argmax(1) == label).mean():.1%} as asked, is "
            f"{probabilities.max(1).mean():.1%} sure, Fréchet distance {frechet_distance(features, reference):.1f}"
        )
    print(
        "Good are numbers near those of the real digits, which the classifier has not seen either. Two minutes on two\n"
        "cores (24 epochs) reach 96% and a distance of 115: readable, bolder and more alike than real digits."
    )
    first = np.searchsorted(label, np.arange(10))[:, None] + np.arange(10)
    save_picture(drawn[first], real[first], args.out / "digits.png")
    print(
        f"go on: python examples/gan.py --epochs {2 * args.epochs} --seed {args.seed} --out {args.out}"
    )


if __name__ == "__main__":
    main()
