"""README.md: its script runs as printed, and its commands are there."""

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.environment import AS_USERS_RUN

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_training_script_learns(tmp_path):
    (script,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env=AS_USERS_RUN,
    )
    assert done.returncode == 0, done.stderr
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", done.stdout)[1])
    assert accuracy > 85


def test_the_two_commands():
    assert 'pip install -e ".[examples]" && python examples/mnist.py' in README
    assert 'pip install -e ".[test]" && pytest' in README


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
