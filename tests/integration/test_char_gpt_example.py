"""The transformer example, shortened: what it learns, writes and shows meanwhile."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.integration.environment import AS_USERS_RUN

PROGRAM = Path(__file__).parents[2] / "examples/char_gpt.py"
SMALL = ["--steps", "120", "--layers", "2", "--width", "32", "--context", "32", "--length", "40"]


def _run_on_a_terminal(out):
    """Run the example with standard error on a terminal; return its code and what was shown there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [sys.executable, str(PROGRAM), *SMALL, "--prompt", "ROMEO:\n"]
    with out.open("w") as stdout:
        process = subprocess.Popen(command, stdout=stdout, stderr=theirs, env=AS_USERS_RUN)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    return process.wait(), shown.decode()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("char_gpt") / "stdout"
    code, shown = _run_on_a_terminal(out)
    assert code == 0, shown
    return out.read_text(), shown


def test_it_learns_more_than_how_often_each_character_comes(run):
    losses = re.findall(r"held-out loss ([\d.]+)", run[0])
    assert float(losses[-1]) < 2.9  # frequencies alone give 3.31; this small run reaches 2.69


def test_it_writes_on_from_the_prompt(run):
    written = run[0].split("ROMEO:\n")[-1]
    assert 40 <= len(written) <= 41  # and the end of the line


def test_the_bar_counts_the_steps_of_the_run(run):
    assert "120/120" in run[1]
    assert set(re.findall(r"\d+/(\d+) \[", run[1])) == {"120"}
