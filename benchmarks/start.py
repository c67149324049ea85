"""From `python train.py` to the end of the first step: `python -m benchmarks.start`.

Funcnet beside raw JAX, Flax NNX, Equinox and PyTorch (eager). Each turn is a fresh process with no compilation
cache; the sides take turns. Columns: imports (from the start of the process), init of model and optimizer, the
first step beyond the second (tracing and compilation), the second step, and the sum without it. Wall clock is
what waits; the processors' time is what a busy machine leaves comparable.
"""

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.results_file import ResultsFile, add_json_argument
from benchmarks.start_sides import BATCH, SIDES

NEEDS = {
    "funcnet": (),
    "raw JAX": ("optax",),
    "Flax NNX": ("flax", "optax"),
    "Equinox": ("equinox", "optax"),
    "PyTorch": ("torch",),
}
PHASES = ("import", "init", "trace, compile", "step", "all")

Phases = list[list[float]]
"""Wall clock and processors' seconds of the phases."""


def start(side: str, model: str, environment: dict[str, str]) -> Phases:
    """Start one script and return its phases."""
    command = [sys.executable, "-m", "benchmarks.start_sides", side, model, str(time.time())]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{side}, {model}:\n{done.stderr}")
    imports, init, first, second = json.loads(done.stdout.splitlines()[-1])
    compiled = [a - b for a, b in zip(first, second, strict=True)]
    everything = [sum(parts, 0.0) for parts in zip(imports, init, first, strict=True)]
    return [imports, init, compiled, second, everything]


def report(model: str, turns: dict[str, list[Phases]], results: ResultsFile) -> None:
    """Print a table of medians, and of ratios to the first side; keep the processors' time of it all."""
    medians = {
        side: [
            [statistics.median(t[p][clock] for t in runs) for clock in (0, 1)]
            for p in range(len(PHASES))
        ]
        for side, runs in turns.items()
    }
    own = medians[next(iter(medians))][-1]
    print(f"{model}: seconds, wall clock (of the processors)")
    print("  " + " " * 9 + "".join(f"{name:>17}" for name in PHASES) + "   to funcnet's")
    for side, phases in medians.items():
        cells = "".join(f"{wall:9.2f} ({work:5.2f})" for wall, work in phases)
        ratios = [a / b for a, b in zip(phases[-1], own, strict=True)]
        print(f"  {side:<9}{cells}   {ratios[0]:.2f} ({ratios[1]:.2f})", flush=True)
    work = {side: phases[-1][1] for side, phases in medians.items()}
    results.add(f"to the end of the first step, {model}", work, "funcnet")


def main() -> None:
    """Print a table for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(BATCH), choices=list(BATCH))
    add_json_argument(parser)
    args = parser.parse_args()
    results = ResultsFile(args.json, "start", "processor time")
    sides = [side for side in SIDES if all(map(importlib.util.find_spec, NEEDS[side]))]
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as bytecode:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for model in args.models:
            turns: dict[str, list[Phases]] = {side: [] for side in sides}
            for side in sides:  # writes the bytecode of what is imported, as an installation does
                start(side, model, environment)
            for _ in range(args.rounds):
                for side in generator.sample(sides, len(sides)):
                    turns[side].append(start(side, model, environment))
            report(model, turns, results)


if __name__ == "__main__":
    main()
