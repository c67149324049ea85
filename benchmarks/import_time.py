"""What `import funcnet` adds to `import jax`: `python -m benchmarks.import_time`. The bar is 150 ms.

Each turn starts a fresh process, with the bytecode that an installation has; the lines take turns. `import funcnet`
alone loads little, for names are loaded when used; another line uses every part of it. Flax and Equinox, where
they are installed, are there to compare. The second number is the time of the processor, which other work on
the machine changes less.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks.results_file import ResultsFile, add_json_argument

EVERYTHING = "funcnet.nn, funcnet.optim, funcnet.data, funcnet.training, funcnet.checkpoint, funcnet.transforms"
LINES = {
    "import funcnet": "import funcnet",
    "every part of it": f"import {EVERYTHING}; funcnet.functionalize",
    "a model and Adam": "import funcnet as fn; from funcnet import nn, optim; fn.functionalize, nn.Linear, optim.adam",
    "Flax NNX, Optax": "from flax import nnx; import optax",
    "Equinox, Optax": "import equinox, optax",
}
NEEDS = {"Flax NNX, Optax": ("flax", "optax"), "Equinox, Optax": ("equinox", "optax")}


def measure(statement: str, environment: dict[str, str]) -> list[float]:
    """Return the seconds a statement takes after `import jax` in a fresh process: of the clock, of the processor."""
    code = (
        "import jax, jax.numpy, json, time; t, c = time.perf_counter(), time.process_time(); "
        + statement
        + "; print(json.dumps([time.perf_counter() - t, time.process_time() - c]))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    add_json_argument(parser)
    args = parser.parse_args()
    results = ResultsFile(args.json, "import_time", "processor time")
    lines = {
        n: line for n, line in LINES.items() if all(map(importlib.util.find_spec, NEEDS.get(n, ())))
    }
    times: dict[str, list[list[float]]] = {name: [] for name in lines}
    with tempfile.TemporaryDirectory() as bytecode:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(args.rounds + 1):
            for name, statement in lines.items():
                turn = measure(statement, environment)
                if number:  # the first turn writes the bytecode
                    times[name].append(turn)
    title = "beyond `import jax`"
    work = {name: statistics.median(t[1] for t in turns) for name, turns in times.items()}
    results.add(title, work, "every part of it")
    for name, turns in times.items():
        clock, work = (statistics.median(turn[i] for turn in turns) * 1e3 for i in range(2))
        print(f"{name:<18} {clock:6.0f} ms beyond `import jax`, {work:5.0f} of the processor")


if __name__ == "__main__":
    main()
