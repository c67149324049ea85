"""docs/training.md: its code runs as printed, and what it names is there."""

import re
from pathlib import Path

from funcnet import training
from tests.integration.environment import run_script

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "training.md").read_text()


def test_the_code_runs(tmp_path):
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    printed = run_script(script, tmp_path, PYTHONPATH=str(ROOT))
    assert "in epoch 1, at step " in printed
    for name in ("mistakes.png", "curves.png"):
        assert (tmp_path / "runs" / name).read_bytes().startswith(b"\x89PNG")


def test_what_the_page_names_exists():
    for name in sorted(set(re.findall(r"training\.(\w+)", PAGE))):
        assert hasattr(training, name), name
    for row in re.findall(r"^\| `(.*)` \|", PAGE.partition("## Observers")[2], re.MULTILINE):
        for name in re.findall(r"\b([A-Z]\w+)\(", row):
            assert issubclass(getattr(training, name), training.Observer), name
    listed = PAGE.partition("## Metrics")[2].partition("## Observers")[0]
    for name in sorted(set(re.findall(r"`([A-Z]\w+)`", listed))):
        assert hasattr(training.metrics, name), name
    for path in sorted(set(re.findall(r"\]\(([\w/.]+)\)", PAGE))):
        assert (ROOT / "docs" / path).exists(), path
