"""Learn to draw digits with a variational autoencoder, and walk from one digit to another.

python examples/vae.py                  # the 5,000 embedded digits
python examples/vae.py --data DIR       # full MNIST: the four IDX files, raw or gzipped

What one learns: an objective written by hand, a loss of two terms that are reported apart, randomness inside of a
model by `next_key`, and methods other than ``__call__`` as functions of the same parameters.

Reference: Kingma and Welling, Auto-Encoding Variational Bayes, 2013, https://arxiv.org/abs/1312.6114.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import checkpoint, data, nn, optim, training
from funcnet import functional as F


class VAE(nn.Module):
    """An encoder to a normal distribution over codes, and a decoder from codes to pixels."""

    def __init__(self, codes: int, width: int) -> None:
        self.encoder = nn.Sequential(
            nn.Linear(28 * 28, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.mean = nn.Linear(width, codes)
        self.log_variance = nn.Linear(width, codes)
        self.decoder = nn.Sequential(
            nn.Linear(codes, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 28 * 28),
        )

    def encode(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map images ``(N, 28, 28)`` to means and logarithms of variances, each ``(N, codes)``."""
        hidden = self.encoder(images.reshape(len(images), -1))
        return self.mean(hidden), self.log_variance(hidden)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Map codes ``(N, codes)`` to the logits of pixels ``(N, 28, 28)``."""
        return self.decoder(codes).reshape(-1, 28, 28)

    def loss(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return what pixels and codes cost, in nats a digit; their sum is a bound on the digits' -log p."""
        mean, log_variance = self.encode(images)
        key = self.next_key() if self.training else jax.random.key(0)
        # drawn in a way that lets the gradient through
        codes = mean + jnp.exp(log_variance / 2) * jax.random.normal(key, mean.shape)
        pixels = F.binary_cross_entropy_with_logits(self.decode(codes), images, reduction="sum")
        surplus = (mean**2 + jnp.exp(log_variance) - 1 - log_variance).sum() / 2
        return pixels / len(images), surplus / len(images)


def tiled(rows: Any) -> np.ndarray:
    """Lay images ``(R, C, 28, 28)`` side by side in one."""
    rows = np.asarray(rows)
    return rows.transpose(0, 2, 1, 3).reshape(28 * rows.shape[0], 28 * rows.shape[1])


def draw(net: VAE, digits: jax.Array, key: jax.Array, path: Path) -> None:
    """Save what a model of arrays makes of digits ``(30, 28, 28)``, what it invents, and ways between digits."""
    means, _ = net.encode(digits)
    again = F.sigmoid(net.decode(means))
    invented = F.sigmoid(net.decode(jax.random.normal(key, (60, means.shape[1]))))
    share = jnp.linspace(0, 1, 10)[:, None]
    ways = jnp.stack([a + share * (b - a) for a, b in zip(means[:6], means[6:12], strict=True)])
    walked = F.sigmoid(net.decode(ways.reshape(60, -1)))
    pictures = {
        "digits, and what comes back": jnp.stack(
            [images[k : k + 10] for k in (0, 10, 20) for images in (digits, again)]
        ),
        "invented": invented.reshape(6, 10, 28, 28),
        "from one digit to another": walked.reshape(6, 10, 28, 28),
    }
    figure, axes = training.pictures.new_figure(1, 3, size=(12, 3.4), grid=False)
    for place, (title, rows) in zip(axes.flat, pictures.items(), strict=True):
        place.imshow(tiled(rows), cmap="gray_r")
        place.set_axis_off()
        place.set_title(title)
    training.pictures.finished(figure, path)


def main() -> None:
    """Train, evaluate, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a folder with MNIST's IDX files")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--codes", type=int, default=16, help="numbers a code")
    parser.add_argument("--width", type=int, default=400)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/vae"))
    args = parser.parse_args()
    fn.keep_memory()

    train, test = data.mnist(args.data)
    loader = data.DataLoader(
        train,
        batch_size=100,
        shuffle=True,
        drop_last=True,
        seed=args.seed,
        transforms=[data.augment.On("image", data.augment.RandomCrop(28, padding=1))],
    )
    test_loader = data.DataLoader(test, batch_size=500)
    model = VAE(args.codes, args.width)
    net, loss_of = fn.functionalize(model), fn.functionalize(model.loss)  # of the same parameters

    def objective(params: Any, state: Any, batch: Any, key: Any, train: bool) -> Any:
        images = batch["image"].astype(jnp.float32) / 255
        (pixels, codes), state = loss_of.apply(params, state, images, key=key, train=train)
        return pixels + codes, ({"loss": pixels + codes, "pixels": pixels, "codes": codes}, state)

    optimizer = optim.adam(optim.schedules.cosine(args.lr, args.epochs * len(loader)))
    run = training.TrainState.create(net, optimizer, jax.random.key(args.seed))
    run, history = training.fit(
        objective,
        optimizer,
        run,
        loader,
        epochs=args.epochs,
        evaluation=test_loader,
        checkpoint=args.out / "checkpoints",
    )
    bound = training.evaluate(objective, run, test_loader)
    print(f"\na test digit costs at most {bound['loss']:.1f} nats: {bound['pixels']:.1f} for its")
    print(
        f"pixels, {bound['codes']:.1f} for its code. Pixels that know of no others cost 205, and known ones"
    )
    print("46, because they are grey. With all of MNIST's 60,000 digits 100 to 106 are usual.")

    digits = jnp.asarray(test[:30]["image"], jnp.float32) / 255
    bound_model = fn.bind(model, run.params, run.state)
    draw(bound_model, digits, jax.random.key(args.seed + 1), args.out / "digits.png")
    training.plot(
        history, args.out / "curves.png", units=dict.fromkeys(("loss", "pixels", "codes"), "nats")
    )
    checkpoint.save_weights(args.out / "model.safetensors", model, run.params, run.state)
    print(f"saved model.safetensors, digits.png and curves.png in {args.out}")
    print("train on:", shlex.join(["python", *sys.argv, "--epochs", str(2 * args.epochs)]))


if __name__ == "__main__":
    main()
