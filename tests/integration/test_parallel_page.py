"""docs/guides/parallel.md: its code runs as printed, its plan has the numbers that it shows, its files are there."""

import re
from pathlib import Path

from tests.integration.environment import run_script

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "parallel.md").read_text()


def test_the_code_prints_the_plan_that_is_shown():
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    printed = run_script(script, ROOT, JAX_NUM_CPU_DEVICES="4")
    # what XLA adds for itself differs from release to release
    same = re.compile(r"^(\d+ devices.*|  (?:run|batch).*)$", re.MULTILINE)
    assert same.findall(printed) == same.findall(shown)
    assert "each device sends in a step" in printed


def test_what_the_page_names_exists():
    from funcnet import parallel

    for name in set(re.findall(r"parallel\.(\w+)\(", PAGE)):
        assert hasattr(parallel, name), name
    for path in re.findall(r"`(examples/[\w/]+\.py|benchmarks/[\w/]+\.py)`", PAGE):
        assert (ROOT / path).exists(), path
