"""What `import funcnet` adds to `import jax`: `python -m benchmarks.import_time`. The bar is 150 ms.

Each turn starts a fresh process. `import funcnet` alone loads little, for names are loaded when used; the
second line uses every part of it.
"""

import argparse
import statistics
import subprocess
import sys

EVERYTHING = "funcnet.nn, funcnet.optim, funcnet.data, funcnet.training, funcnet.checkpoint, funcnet.transforms"
LINES = {
    "import funcnet": "import funcnet",
    "every part of it": f"import {EVERYTHING}; funcnet.functionalize",
}


def measure(statement: str) -> float:
    """Return the seconds a statement takes after `import jax`, in a fresh process."""
    code = (
        "import jax, jax.numpy, time; t = time.perf_counter(); "
        + statement
        + "; print(time.perf_counter() - t)"
    )
    return float(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
    )


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    for name, statement in LINES.items():
        times = [measure(statement) for _ in range(args.rounds)]
        print(f"{name:<18} {statistics.median(times) * 1e3:6.0f} ms beyond `import jax`")


if __name__ == "__main__":
    main()
