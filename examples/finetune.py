"""Learn five digits of fifteen examples, with what was learned of five others.

python examples/finetune.py
python examples/finetune.py --examples 10 --epochs 80

A network learns the digits 0 to 4 of 2,500 examples, and is saved. Then there are three examples each of the digits 5
to 9. What one learns: a part of a file of weights, a trunk that stays as it is, groups of parameters with two learning
rates, and what all that gains over a start from nothing.
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


class Classifier(nn.Module):
    """A trunk of convolutions, and a head for five classes.

    Its norms look at one image alone: a batch norm would go on changing its statistics in a frozen trunk.
    """

    def __init__(self, width: int) -> None:
        self.trunk = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.GroupNorm(4, width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.GroupNorm(4, 2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(2 * width * 7 * 7, 5))

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images ``(N, 1, 28, 28)`` to logits ``(N, 5)``."""
        return self.head(self.trunk(images))


def images_of(batch: dict) -> jax.Array:
    """Scale a batch's bytes, with a channel axis."""
    return (batch["image"].astype(jnp.float32)[:, None] - 33) / 79


def digits(source: data.ArrayDataset, first: int, examples: int | None = None) -> Any:
    """Take five digits from one on, labelled 0 to 4, and of each as many examples as are asked for."""
    labels = source[:]["label"]
    chosen = [np.flatnonzero(labels == digit)[:examples] for digit in range(first, first + 5)]
    part = source[np.concatenate(chosen)]
    return data.ArrayDataset({"image": part["image"], "label": part["label"] - first})


def main() -> None:
    """Pretrain, save, fine-tune in three ways, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=40, help="of fine-tuning")
    parser.add_argument("--pretraining", type=int, default=8, help="epochs on the digits 0 to 4")
    parser.add_argument("--examples", type=int, default=3, help="of each of the digits 5 to 9")
    parser.add_argument("--batch-size", type=int, default=25)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3, help="of whole networks")
    parser.add_argument("--head-lr", type=float, default=3e-3, help="of heads of their own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/finetune"))
    args = parser.parse_args()
    fn.keep_memory()

    train, test = data.mnist()
    model = Classifier(args.width)
    net = fn.functionalize(model)
    objective = training.supervised(
        net, F.cross_entropy, inputs=images_of, metrics={"accuracy": training.accuracy}
    )
    key = jax.random.key(args.seed)

    def learn(name: str, optimizer: Any, first: int, epochs: int, start: Any = None) -> Any:
        """Train on five digits, from the parameters of a start if there is one."""
        run = training.TrainState.create(net, optimizer, key, params=start)
        few = digits(train, first, args.examples if first else None)
        shift = data.augment.On("image", data.augment.RandomCrop(28, padding=2))
        loader = data.DataLoader(
            few, batch_size=args.batch_size, shuffle=True, seed=args.seed, transforms=[shift]
        )
        return training.fit(
            objective,
            optimizer,
            run,
            loader,
            epochs=epochs,
            evaluation=data.DataLoader(digits(test, first), batch_size=500),
            evaluate_every=training.Epochs(2),
            checkpoint=args.out / "checkpoints" / name,
            progress=False,
        )

    run, history = learn("pretraining", optim.adamw(args.lr), 0, args.pretraining)
    saved = checkpoint.save_weights(args.out / "pretrained.safetensors", model, run.params)
    print(f"digits 0 to 4, 2,500 examples: accuracy {history.series('eval/accuracy')[-1]:.1%}")

    # the trunk comes from the file; the head, which knows other digits, starts anew
    start, _ = checkpoint.load_weights(
        saved, model, strict=False, select="trunk.*", default=net.init(key)
    )
    frozen = optim.groups({"trunk.*": None, "head.*": optim.adamw(args.head_lr)})
    both = optim.groups({"trunk.*": {"lr_scale": 0.1}, "head.*": {}}, optim.adamw, lr=args.lr)
    found = {}
    _, found["from nothing"] = learn("scratch", optim.adamw(args.lr), 5, 2 * args.epochs)
    run, found["trunk frozen"] = learn("frozen", frozen, 5, args.epochs, start)
    _, found["then the trunk, slowly"] = learn("both", both, 5, args.epochs, run.params)
    print(f"digits 5 to 9, {args.examples} examples of each, accuracy on 500 others:")
    for name, history in found.items():
        print(f"  {name:30} {history.series('eval/accuracy')[-1]:.1%}")
    print(
        "A guess is right in 20 %. What is above a start from nothing was learned of other digits."
    )

    training.plot(found, args.out / "curves.png", names=["eval/loss", "eval/accuracy"])
    print(f"saved pretrained.safetensors and curves.png in {args.out}")
    print("train on:", shlex.join(["python", *sys.argv, "--epochs", str(2 * args.epochs)]))


if __name__ == "__main__":
    main()
