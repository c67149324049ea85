"""Classes of the main program in worker processes."""

import os
import pathlib
import subprocess
import sys


def test_every_kind_of_class_of_the_main_program_works_in_a_worker():
    program = pathlib.Path(__file__).with_name("main_program.py")
    done = subprocess.run(
        [sys.executable, str(program)],
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "12 kinds\n"
