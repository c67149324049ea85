"""Whole training steps on CPU in plain JAX, Flax NNX, Equinox, PyTorch and funcnet: ``python -m benchmarks.models``.

Every side trains the same model with AdamW on the same batch in float32. The sides take turns in one process,
memory is kept for all of them (`fn.keep_memory`), and the ratio to the reference is what counts.

    python -m benchmarks.models --only cnn gpt --sides funcnet torch --rounds 20
    python -m benchmarks.models --one-core  # the processor's time on one core: for a machine that others use
"""

import argparse
import importlib
import statistics
from collections.abc import Callable

import funcnet as fn
from benchmarks.interleave import choose_clock, interleave, table
from benchmarks.models_data import SHAPES, batch
from benchmarks.results_file import ResultsFile, add_json_argument

TITLES = {
    "mlp": "MLP 784-512-512-10, batch 128",
    "deep": "100 linear layers of 64, batch 32",
    "cnn": "MNIST CNN 32, 64, batch 128",
    "lstm": "LSTM language model 256, 32 x 128 tokens",
    "gpt": "GPT 4 x 128, 16 x 128 tokens",
    "resnet": "ResNet-18 on 32x32, batch 32",
    "vit": "ViT-tiny on 32x32, batch 32",
}

SIDES = {
    "JAX": ("jax", ""),
    "Flax NNX": ("flax", ""),
    "Equinox": ("equinox", ""),
    "torch": ("torch", ""),
    "torch.compile": ("torch", "compile"),
    "funcnet": ("funcnet", ""),
}
"""Names to the module of a side, and how it is used there."""

MORE = {
    "cnn": {
        "torch, channels last": ("torch", "channels last"),
        "funcnet, channels last": ("funcnet", "channels last"),
    },
    "deep": {
        "Flax NNX, nnx.jit": ("flax", "nnx.jit"),
        "funcnet, packed": ("funcnet", "packed"),
    },
    "resnet": {"funcnet, channels last": ("funcnet", "channels last")},
}
"""Sides of single rows."""

FEWER = {("lstm", "flax"): 4 * 256, ("lstm", "equinox"): 4 * 256}
"""Parameters that a side lacks: one bias of the gates, where the others add two, which computes the same."""


def sides_of(row: str, names: list[str]) -> dict[str, Callable[[], object]]:
    """Build every side of a row that is wanted and installed."""
    x, y = batch(row)
    sides, counts = {}, {}
    for name, (module, variant) in (SIDES | MORE.get(row, {})).items():
        if name.split(",")[0] not in names:
            continue
        try:
            side = importlib.import_module(f"benchmarks.models_{module}")
        except ImportError as error:
            print(f"  {name}: left out ({error})")
            continue
        if row in side.MODELS:
            sides[name], count = side.make(row, x, y, variant)
            counts[name] = count + FEWER.get((row, module), 0)
    if len(set(counts.values())) > 1:
        raise AssertionError(f"{row}: the sides are not one model: {counts} parameters")
    return sides


def first_losses(sides: dict[str, Callable[[], object]], steps: int = 5) -> str:
    """Train a few steps and show that every side learns alike."""
    return ", ".join(
        f"{name} {statistics.mean(float(run()) for _ in range(steps)):.3f}"  # pyright: ignore
        for name, run in sides.items()
    )


def main() -> None:
    """Print a table for each row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SHAPES, default=list(TITLES))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--reference", choices=SIDES, default="torch")
    parser.add_argument("--one-core", action="store_true", help="processor time on one core")
    add_json_argument(parser)
    args = parser.parse_args()
    clock, said = choose_clock(args.one_core)
    results = ResultsFile(args.json, "models", said)
    fn.keep_memory()
    for row in args.only:
        sides = sides_of(row, args.sides)
        print(f"mean loss of five steps: {first_losses(sides)}")
        reference = args.reference if args.reference in sides else next(iter(sides))
        medians = interleave(sides, rounds=args.rounds, clock=clock)
        print(table(TITLES[row], medians, reference), flush=True)
        results.add(TITLES[row], medians, reference)


if __name__ == "__main__":
    main()
