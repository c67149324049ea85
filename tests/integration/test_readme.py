"""README.md: its script runs as printed, and its commands are there."""

import re
from pathlib import Path

from tests.integration.environment import run_script

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_training_script_learns(tmp_path):
    script, _its_twin = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    printed = run_script(script, tmp_path)
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", printed)[1])
    assert accuracy > 85


def test_the_two_commands():
    assert 'pip install -e ".[examples]" && python examples/mnist.py' in README
    assert 'pip install -e ".[test]" && pytest' in README


def test_every_linked_file_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
