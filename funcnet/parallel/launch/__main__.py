"""Start a program as several processes: ``python -m funcnet.parallel.launch --processes 2 train.py``."""

import sys

from funcnet.parallel.launch.job import parse_options, run_job

if __name__ == "__main__":
    sys.exit(run_job(parse_options()))
