"""The tests that need a GPU, then its benchmark, in six minutes: ``python -m benchmarks.gpu_all OUT``.

Writes ``OUT/tests.txt`` and the tables of `benchmarks.gpu`, as they come.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import gpu_sides

ROOT = Path(__file__).parent.parent
TEST_SETTINGS = {
    "JAX_PLATFORMS": "cuda,cpu",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    # Thousands of small programs run once each: choosing the quickest kernel takes longer than any.
    "XLA_FLAGS": "--xla_gpu_autotune_level=0",
}


def tests(out: Path, seconds: float, workers: int, chosen: list[str]) -> None:
    """Run the tests marked gpu; those that have not begun in time are skipped."""
    command = [
        *(sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-n", str(workers), "-rfEs"),
        *("--gpu-seconds", str(seconds - 25), "-o", "filterwarnings=default"),
        *("-p", "no:cacheprovider", *chosen),
    ]
    print(" ".join(command), flush=True)
    with (out / "tests.txt").open("w") as file:
        running = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | TEST_SETTINGS,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            running.wait(seconds + 15)
        except subprocess.TimeoutExpired:
            print("the tests did not end in time", flush=True)
            os.killpg(running.pid, signal.SIGKILL)  # the workers, too
            running.wait()
    print((out / "tests.txt").read_text()[-3000:], flush=True)


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--budget", type=float, default=370.0, help="seconds in all")
    parser.add_argument("--tests", type=float, default=110.0, help="seconds of them for the tests")
    parser.add_argument("--workers", type=int, default=12)
    fused = sorted(str(path) for path in ROOT.glob("tests/**/*_on_gpu.py"))
    chosen = [*fused, "tests/gpu"]
    parser.add_argument("--chosen", nargs="+", default=chosen, help="files or folders of tests")
    args = parser.parse_args()
    until = time.time() + args.budget
    args.out.mkdir(parents=True, exist_ok=True)
    if args.tests:
        tests(args.out, args.tests, args.workers, args.chosen)
    budget = f"{until - time.time() - 5:.0f}"
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(args.out), "--budget", budget]
    subprocess.run(command, cwd=ROOT, check=False)


if __name__ == "__main__":
    gpu_sides.quiet_settings()
    main()
