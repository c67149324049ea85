"""Train a small U-Net that turns noise into the handwritten digit one asks for, by flow matching.

What one learns here: a generative model is an objective like any other. A point between noise and image goes in, the
way from one to the other is the target; drawing follows that way from noise, step by step. The random numbers of a
step come from the key that an objective is given, and `optim.average` keeps the weights that are drawn with.

python examples/diffusion.py              # two minutes on two cores
python examples/diffusion.py --epochs 28  # goes on from there

Reference: Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023; Ho and Salimans, "Classifier-Free
Diffusion Guidance", 2022.
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

ANY = 10  # the label that asks for no digit
WIDTH, KNOWN, STEPS, GUIDANCE = 32, 64, 25, 1.5


class Block(nn.Module):
    """Two convolutions around a shortcut; between them what is known, time and label, is added."""

    def __init__(self, channels: int) -> None:
        self.norm1, self.norm2 = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.known = nn.Linear(KNOWN, channels)

    def __call__(self, x: jax.Array, known: jax.Array) -> jax.Array:
        """Map ``(N, C, H, W)`` to the same shape."""
        y = self.conv1(F.silu(self.norm1(x))) + self.known(known)[:, :, None, None]
        return x + self.conv2(F.silu(self.norm2(y)))


class UNet(nn.Module):
    """From 14 x 14 down to 7 x 7 and up again, with a bridge; an image's pixels come four to a place."""

    def __init__(self) -> None:
        self.label = nn.Embedding(ANY + 1, KNOWN)
        self.time = nn.Sequential(nn.Linear(32, KNOWN), nn.SiLU(), nn.Linear(KNOWN, KNOWN))
        self.first = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4, WIDTH, 3, padding=1))
        self.high1, self.high2 = Block(WIDTH), Block(WIDTH)
        self.down = nn.Conv2d(WIDTH, 2 * WIDTH, 3, stride=2, padding=1)
        self.low1, self.low2 = Block(2 * WIDTH), Block(2 * WIDTH)
        self.up = nn.Sequential(nn.Conv2d(2 * WIDTH, 4 * WIDTH, 1), nn.PixelShuffle(2))
        self.join = nn.Conv2d(2 * WIDTH, WIDTH, 1)
        self.last = nn.Sequential(
            nn.GroupNorm(8, WIDTH), nn.SiLU(), nn.Conv2d(WIDTH, 4, 3, padding=1), nn.PixelShuffle(2)
        )

    def __call__(self, x: jax.Array, time: jax.Array, label: jax.Array) -> jax.Array:
        """Map points ``(N, 1, 28, 28)``, times ``(N,)`` and labels ``(N,)`` to directions like the points."""
        waves = time[:, None] * jnp.pi * 2.0 ** jnp.linspace(0, 6, 16)
        known = self.time(jnp.concatenate([jnp.sin(waves), jnp.cos(waves)], 1)) + self.label(label)
        known = F.silu(known)
        bridge = self.high1(self.first(x), known)
        x = self.low2(self.low1(self.down(bridge), known), known)
        x = self.join(jnp.concatenate([bridge, self.up(x)], 1))
        return self.last(self.high2(x, known))


net = fn.functionalize(UNet())


def images_of(batch: Any) -> jax.Array:
    """Scale bytes to between -1 and 1, with a channel axis."""
    return (batch["image"].astype(jnp.float32) / 127.5 - 1)[:, None]


def objective(params: Any, state: Any, batch: Any, key: Any, train: bool) -> Any:
    """Return how far the network's direction is from that between noise and image, at a random time on the way."""
    images = images_of(batch)
    noise_key, time_key, drop_key = jax.random.split(key, 3)
    noise = jax.random.normal(noise_key, images.shape)
    time = jax.nn.sigmoid(jax.random.normal(time_key, (len(images),)))  # the middle is hardest
    dropped = jax.random.uniform(drop_key, time.shape) < 0.1
    label = jnp.where(dropped, ANY, batch["label"])
    point = noise + time[:, None, None, None] * (images - noise)
    direction, _ = net.apply(params, state, point, time, label, key=key, train=train)
    loss = F.mse_loss(direction, images - noise)
    return loss, ({"loss": loss}, state)


@jax.jit
def move(params: Any, x: jax.Array, time: jax.Array, label: jax.Array) -> jax.Array:
    """Make one of the steps from noise to the digits that are asked for."""
    direction = fn.bind(net.module, params, {})
    at = jnp.full(label.shape, time)
    free = direction(x, at, jnp.full_like(label, ANY))
    return x + (free + GUIDANCE * (direction(x, at, label) - free)) / STEPS


def draw(params: Any, key: jax.Array, label: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Go from noise to the digits that are asked for; return them ``(N, 1, 28, 28)``, and the way there."""
    way = [jax.random.normal(key, (len(label), 1, 28, 28))]
    for step in range(
        STEPS
    ):  # not `fn.scan`: within loops a CPU's convolutions are ten times slower
        way.append(move(params, way[-1], jnp.float32(step / STEPS), label))
    return way[-1], jnp.stack(way[1:])


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


def save_picture(drawn: jax.Array, way: jax.Array, path: Path) -> None:
    """Save the way from noise to each digit, and ten drawings of each."""
    figure, panels = new_figure(1, 2, size=(9, 4.8), grid=False)
    titles = ("from noise to each digit", "ten drawings of each")
    for axes, images, title in zip(panels[0], (way, drawn), titles, strict=True):
        rows = np.asarray(images).reshape(10, 10, 28, 28).swapaxes(1, 2).reshape(280, 280)
        axes.imshow(rows, cmap="gray_r", vmin=-1, vmax=1)
        axes.set(title=title, xticks=[], yticks=np.arange(14, 280, 28), yticklabels=range(10))
    finished(figure, path)


def main() -> None:
    """Train, draw, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/diffusion"))
    args = parser.parse_args()
    fn.keep_memory()

    train, test = data.mnist()
    loader = data.DataLoader(train, batch_size=64, shuffle=True, drop_last=True, seed=args.seed)
    optimizer = optim.average(optim.adam(1e-3), 0.995)
    run = training.TrainState.create(net, optimizer, jax.random.key(args.seed))
    run, _ = training.fit(
        objective, optimizer, run, loader, epochs=args.epochs, checkpoint=args.out
    )

    label = jnp.repeat(jnp.arange(10), 50)
    drawn, way = draw(run.opt_state.average, jax.random.key(args.seed + 1), label)
    read = train_judge(train, args.seed)
    reference, _ = read(images_of(train[:]))
    for name, images, asked in (
        ("drawn", drawn, label),
        ("real ", images_of(test[:]), test[:]["label"]),
    ):
        features, probabilities = read(images)
        print(
            f"{name} digits: the classifier reads {(probabilities.argmax(1) == asked).mean():.1%} as asked, is "
            f"{probabilities.max(1).mean():.1%} sure, Fréchet distance {frechet_distance(features, reference):.2f}"
        )
    print(
        "Good are numbers near those of the real digits, which the classifier has not seen either. Two minutes on two\n"
        "cores (14 epochs) are not enough for that: they reach 84% and 14, and some drawings are no digits."
    )
    stages = way[np.linspace(0, STEPS - 1, 10).astype(int)][:, ::50]  # (10 stages, 10 digits, ...)
    save_picture(
        drawn.reshape(10, 50, 28, 28)[:, :10], stages.swapaxes(0, 1), args.out / "digits.png"
    )
    print(
        f"go on: python examples/diffusion.py --epochs {2 * args.epochs} --seed {args.seed} --out {args.out}"
    )


if __name__ == "__main__":
    main()
