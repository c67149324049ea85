"""Write a web page on which one draws a digit, and sees the network's answer and which pixels moved it.

python -m examples.web_digits                                      # trains on the 5,000 embedded digits first
python -m examples.web_digits --weights runs/mnist/model.safetensors   # as examples/mnist.py saved them

The page is one file that needs no network. It takes funcnet[onnx,examples], and npm for ONNX Runtime Web.
"""

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from examples.mnist import DigitNet, images_of
from funcnet import checkpoint, data, export, optim, training
from funcnet import functional as F


def train(model: DigitNet, epochs: int, seed: int) -> tuple[Any, Any]:
    """Train on the embedded digits, and say how well it reads others."""
    digits, others = data.mnist()
    loader = data.DataLoader(digits, batch_size=64, shuffle=True, drop_last=True, seed=seed)
    net = fn.functionalize(model)
    steps = epochs * len(loader)
    rate = optim.schedules.warmup_cosine(2e-3, steps // 10, steps)
    optimizer = optim.adamw(rate, weight_decay=0.05)
    objective = training.supervised(
        net, F.cross_entropy, inputs=images_of, metrics={"accuracy": training.accuracy}
    )
    run = training.TrainState.create(net, optimizer, jax.random.key(seed))
    run, _ = training.fit(objective, optimizer, run, loader, epochs=epochs)
    measured = training.evaluate(objective, run, data.DataLoader(others, batch_size=500))
    print(f"{epochs} epochs; reads {measured['accuracy']:.1%} of the test digits rightly")
    return run.params, run.state


def explained(net: fn.Functional) -> Any:
    """Return the function that is exported: logits, and how each pixel moves the one that wins.

    The second is a derivative: `jax.grad` within an exported function is just more operations.
    """

    def read(params: Any, state: Any, ink: jax.Array) -> Any:
        def winning(ink: jax.Array) -> tuple[jax.Array, jax.Array]:
            images = images_of({"image": 255 * ink[:, 0]})
            logits, _ = net.apply(params, state, images)
            return jnp.max(logits, axis=-1).sum(), logits

        moved, logits = jax.grad(winning, has_aux=True)(ink)
        return {"logits": logits, "moved": moved}, state

    return read


def write_page(
    directory: Path, model: DigitNet, params: Any, state: Any, **options: Any
) -> tuple[Path, Any]:
    """Export the network to ONNX, compared with the function itself, and write the page around it.

    Returns:
        The page, and the function that it runs.
    """
    read = explained(fn.functionalize(model))
    directory.mkdir(parents=True, exist_ok=True)
    ink = export.spec(("batch", 1, 28, 28), jnp.float32, "ink")
    print(export.onnx(directory / "digits.onnx", read, params, state, ink))
    _, others = data.mnist()
    lead = (
        "Draw one, and a small convolutional network reads it while you draw. It has learned from "
        "handwritten digits of MNIST, and shows which pixels moved its answer."
    )
    images, labels = others[:]["image"], others[:]["label"]
    samples = images[[int(np.flatnonzero(labels == digit)[0]) for digit in range(10)]]
    page = export.web(
        directory, directory / "digits.onnx", "digit", lead=lead, samples=samples, **options
    )
    return page, read


def main() -> None:
    """Train or load, export, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="as examples/mnist.py saved them")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runtime", type=Path, help="the folder of npm's onnxruntime-web")
    parser.add_argument("--out", type=Path, default=Path("runs/web_digits"))
    args = parser.parse_args()

    model = DigitNet()
    if args.weights:
        params, state = checkpoint.load_weights(args.weights, model)
    else:
        params, state = train(model, args.epochs, args.seed)
    page, _ = write_page(args.out, model, params, state, runtime=args.runtime)
    print(f"open {page} in a browser ({page.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
