"""Start a program as several processes: ``python -m funcnet.parallel.launch --processes 2 train.py``."""

import os
import sys

from funcnet.parallel.launch.job import parse_options, run_job

if __name__ == "__main__":
    _code = run_job(parse_options())
    for _stream in (sys.stdout, sys.stderr):
        _stream.flush()
    os._exit(
        _code
    )  # the job is over: what Python and JAX would clean up takes longer than the rest
