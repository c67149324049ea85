"""docs/guides/sequences.md: its code runs as printed, and what it names is there."""

import re
from pathlib import Path

from funcnet import data, nn
from funcnet import functional as F
from tests.integration.environment import run_script

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "sequences.md").read_text()


def test_the_code_runs(tmp_path):
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    printed = run_script(script, tmp_path, PYTHONPATH=str(ROOT))
    assert "padded: (4, 16) [3, 9, 5, 7] (4, 2)" in printed
    assert "packed: (2, 16) () (2, 8)" in printed


def test_what_the_page_names_exists():
    places = {"F": F, "data": data, "nn": nn}
    named = set(re.findall(r"\b(F|data|nn)\.([A-Za-z]\w+)", PAGE))
    assert len(named) > 25
    for place, name in sorted(named):
        assert hasattr(places[place], name), name
