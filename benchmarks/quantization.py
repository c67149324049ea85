"""What few bits cost: the held-out loss of a character GPT, and the accuracy of a network that reads digits.

    python benchmarks/quantization.py [--keep FOLDER] [--steps 750] [--epochs 8] [--tuning 150] [--markdown FILE]

Both models are trained once, as the examples train them, and kept in a folder. Then their weights, or weights and
inputs, are written in few bits; and once more after a short training that rounds on the way. Times are those of a
compiled forward pass, the least of many taken in ever new order, as ratios to that of the model in float32.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import funcnet as fn
from benchmarks.quantization_models import Trained, digits, gpt, stepped, texts
from examples import mnist
from funcnet import compression, data, optim
from funcnet.core.files import readable_bytes

SCHEMES = {
    "int8": compression.Int8(),
    "int4, groups of 32": compression.Int4(group=32),
    "int4, groups of 128": compression.Int4(group=128),
    "NF4, groups of 64": compression.NF4(group=64),
}
LEARNING_RATE = 3e-4
TURNS = 40


class Measured(NamedTuple):
    """One row of a table."""

    name: str
    score: float
    bytes: int
    call: Callable[[], Any]


def size(model: Trained) -> int:
    """Return the bytes of all arrays."""
    return sum(array.nbytes for array in jax.tree.leaves(model[1:]))


def compiled(model: Trained, example: Any) -> Callable[[], Any]:
    """Return a forward pass of a batch, compiled; ready when it returns."""
    apply = jax.jit(fn.functionalize(model.module).apply)
    return lambda: jax.block_until_ready(apply(model.params, model.state, example))


def held_out_loss(model: Trained, tokens: np.ndarray) -> float:
    """Return nats a character."""
    apply = jax.jit(fn.functionalize(model.module.loss).apply)
    batches = np.array_split(tokens[: len(tokens) // 64 * 64], len(tokens) // 64)
    losses = [float(apply(model.params, model.state, batch)[0]) for batch in batches]
    return float(np.mean(losses))


def gpt_rows(whole: Trained, tuning: int) -> list[Measured]:
    """Measure the GPT in float32, and in few bits before and after training for them."""
    _, train, held_out = texts()
    batches = [train[i : i + 16, :-1] for i in (0, 5000, 10000, 15000)]

    def row(name: str, made: Any) -> Measured:
        made = Trained(*made)
        loss = held_out_loss(made, held_out)
        print(f"{name}: {loss:.4f}", flush=True)
        return Measured(name, loss, size(made), compiled(made, batches[0]))

    rows = [row("float32", whole)]
    for name, scheme in SCHEMES.items():
        rows.append(row(name, compression.quantize(*whole, scheme)))
    rows.append(
        row("int8, inputs int8 as they come", compression.quantize_dynamic(*whole, "blocks.*"))
    )
    module, params, state = compression.fake_quantize(*whole, patterns="blocks.*")
    state = compression.calibrate(module, params, state, batches)
    rows.append(row("int8, inputs int8 calibrated", compression.convert(module, params, state)))
    more = tuned(whole.module, whole.params, whole.state, train, tuning)
    rows.append(row(f"float32, after {tuning} steps more", (whole.module, more, whole.state)))
    for name, scheme in SCHEMES.items():
        if name == "int8":
            continue
        module, params, state = compression.fake_quantize(*whole, scheme, None)
        params = tuned(module, params, state, train, tuning)
        made = compression.convert(module, params, state)
        rows.append(row(f"{name}, after {tuning} steps of training for it", made))
    return rows


def tuned(module: Any, params: Any, state: Any, tokens: np.ndarray, steps: int) -> Any:
    """Train a little further, at a tenth of the rate."""
    optimizer = optim.adamw(optim.schedules.warmup_cosine(LEARNING_RATE, 10, steps))
    return stepped(module, params, state, optimizer, tokens, steps, 16)


def digit_rows(whole: Trained) -> list[Measured]:
    """Measure the network for digits."""
    train, test = data.mnist()
    batches = [np.asarray(mnist.images_of(train[i : i + 250])) for i in range(0, 1000, 250)]
    held_out = test[:]

    def row(name: str, made: Any) -> Measured:
        made = Trained(*made)
        apply = jax.jit(fn.functionalize(made.module).apply)
        logits = apply(made.params, made.state, mnist.images_of(held_out))[0]
        right = float((np.asarray(logits).argmax(-1) == held_out["label"]).mean())
        print(f"{name}: {right:.2%}", flush=True)
        return Measured(name, right, size(made), compiled(made, batches[0][:64]))

    rows = [row("float32", whole)]
    for name, scheme in SCHEMES.items():
        rows.append(row(name, compression.quantize(*whole, scheme)))
    rows.append(row("int8, inputs int8 as they come", compression.quantize_dynamic(*whole)))
    module, params, state = compression.fake_quantize(*whole)
    for method in ("minmax", "percentile", "mse"):
        known = compression.calibrate(module, params, state, batches, method)
        made = compression.convert(module, params, known)
        rows.append(row(f"int8, inputs int8 calibrated by {method}", made))
    return rows


def ratios(rows: list[Measured]) -> list[float]:
    """Return the time of each call over that of the first: the least of several, taken in ever new order."""
    least = [float("inf")] * len(rows)
    order = np.random.default_rng(0)
    for turn in range(TURNS + 1):
        for place in order.permutation(len(rows)):
            start = time.perf_counter()
            rows[place].call()
            taken = time.perf_counter() - start
            least[place] = min(least[place], taken if turn else float("inf"))
    return [taken / least[0] for taken in least]


def table(rows: list[Measured], head: str, score: Callable[[float], str], change: Any) -> str:
    """Lay rows out as Markdown."""
    lines = [
        f"| weights | {head} | change | arrays | of float32 | time of float32 |",
        "|---" * 6 + "|",
    ]
    first = rows[0]
    for row, ratio in zip(rows, ratios(rows), strict=True):
        cells = (
            row.name,
            score(row.score),
            change(row.score, first.score),
            readable_bytes(row.bytes),
            f"{row.bytes / first.bytes:.2f}",
            f"{ratio:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", type=Path, default=Path("runs/quantization"))
    parser.add_argument("--steps", type=int, default=750, help="of the GPT's training")
    parser.add_argument("--epochs", type=int, default=8, help="of the training on digits")
    parser.add_argument("--tuning", type=int, default=150, help="steps of training for few bits")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    args = parser.parse_args()

    language, reader = gpt(args.keep, args.steps), digits(args.keep, args.epochs)
    of_text = gpt_rows(language, args.tuning)
    loss_table = table(
        of_text,
        "held-out loss",
        lambda loss: f"{loss:.4f}",
        lambda loss, first: f"{loss / first - 1:+.2%}",
    )
    of_digits = digit_rows(reader)
    digit_table = table(
        of_digits,
        "accuracy",
        lambda right: f"{right:.2%}",
        lambda right, first: f"{100 * (right - first):+.1f} points",
    )
    loss = fn.functionalize(language.module.loss)
    _, _, held_out = texts()
    costs = compression.sensitivity(
        *language,
        compression.Int4(group=32),
        lambda params, state, batch: loss.apply(params, state, batch)[0],
        [held_out[:256]],
        "blocks.*",
    )
    told = (
        "# What few bits cost\n\n"
        f"On {jax.default_backend()}, JAX {jax.__version__}; written by `python benchmarks/quantization.py`.\n\n"
        f"## A character GPT (`examples/char_gpt.py`, {args.steps} steps)\n\n"
        "All weights of two axes are in few bits, the embedding too; with inputs in int8, those of the blocks. Loss is "
        f"in nats a character, over {len(held_out) // 64 * 64} windows held out.\n\n{loss_table}\n\n"
        "The layers of the blocks that mind 4 bits most (groups of 32), one at a time, over 256 windows:\n\n"
        f"```\n{costs}\n```\n\n"
        f"## Digits (`examples/mnist.py`, {args.epochs} epochs)\n\n"
        f"Accuracy over 1,000 digits held out, so that one digit is 0.1 points.\n\n{digit_table}\n"
    )
    print(told)
    if args.markdown:
        args.markdown.write_text(told)


if __name__ == "__main__":
    main()
