"""What lies in a directory of checkpoints or in a file: ``python -m funcnet.checkpoint PATH``."""

import argparse
import sys
from pathlib import Path

from funcnet.checkpoint.runs.report import describe_path


def _run() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m funcnet.checkpoint",
        description="List the steps of a run, whole or why not, or the arrays of a file.",
    )
    parser.add_argument(
        "path", type=Path, help="a Checkpointer's directory, one of its steps, or a file"
    )
    parser.add_argument(
        "--check", action="store_true", help="read all numbers and meet their checksums"
    )
    parser.add_argument(
        "--best", metavar="METRIC", help="mark the step of the best value of a metric"
    )
    parser.add_argument("--mode", choices=("max", "min"), help="which values of it are good")
    asked = parser.parse_args()
    try:
        text = describe_path(asked.path, check=asked.check, best=asked.best, mode=asked.mode)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(_run())
