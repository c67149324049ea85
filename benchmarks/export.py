"""What a model costs where it is deployed, beside PyTorch's ways to do it: ``python -m benchmarks.export``.

Both sides hold the same weights, take NumPy's array and return one, and their outputs are compared before anything
is timed. Each has two threads, or one. The sides take turns in one process, memory is kept for all of them
(`fn.keep_memory`), and the ratio to the reference is what counts. A route whose packages are not installed is left
out, and so is one that cannot take the model, with the reason.

    python -m benchmarks.export --only "MNIST CNN" --batches 1 --rounds 50
    python -m benchmarks.export --one-core  # the processor's time on one core: for a machine that others use
    python -m benchmarks.export --sides "funcnet, ONNX in ONNX Runtime" "PyTorch, its ONNX in ONNX Runtime"
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import funcnet as fn
from benchmarks import export_native, export_ours, export_torch
from benchmarks.export_models import MODELS, Pair, make
from benchmarks.interleave import choose_clock, interleave, table
from benchmarks.results_file import ResultsFile, add_json_argument

SIDES = export_ours.SIDES | export_native.SIDES | export_torch.SIDES

AGREEMENT = 1e-4
"""Relative to the largest output: sums of a few thousand products, some fused and in another order."""


def sides_of(pair: Pair, names: list[str], folder: Path) -> dict[str, Callable[[], np.ndarray]]:
    """Make every side that can be made, and compare what it gives."""
    sides = {}
    expected = export_torch.SIDES["PyTorch, eager"](pair, folder)()
    for name in names:
        try:
            side = SIDES[name](pair, folder)
            found = side()
        except Exception as error:
            print(f"  {name}: left out ({type(error).__name__}: {str(error).splitlines()[0]:.160})")
            continue
        far = np.abs(found - expected).max() / np.abs(expected).max()
        if not far < AGREEMENT:
            raise AssertionError(f"{pair.name}, {name}: outputs are {far:.1e} apart")
        sides[name] = side
    return sides


def main() -> None:
    """Print a table for each model and batch."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--reference", choices=SIDES, default="PyTorch, AOTInductor")
    parser.add_argument("--one-core", action="store_true", help="processor time on one core")
    add_json_argument(parser)
    args = parser.parse_args()
    clock, said = choose_clock(args.one_core)
    results = ResultsFile(args.json, "export", said)
    threads = 1 if args.one_core else 2
    os.sched_setaffinity(
        0, sorted(os.sched_getaffinity(0))[:threads]
    )  # before any side starts its threads
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    torch.set_num_threads(threads)
    fn.keep_memory()
    for name in args.only:
        for batch in args.batches:
            pair = make(name, batch)
            with tempfile.TemporaryDirectory() as folder:
                sides = sides_of(pair, args.sides, Path(folder))
                reference = args.reference if args.reference in sides else next(iter(sides))
                medians = interleave(sides, rounds=args.rounds, clock=clock)
            print(table(f"{name}, batch {batch}", medians, reference), flush=True)
            results.add(f"{name}, batch {batch}", medians, reference)


if __name__ == "__main__":
    main()
