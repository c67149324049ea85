"""docs/guides/smaller.md: its code runs as printed, and what it names is there and takes what it is given."""

import ast
import inspect
import re
from pathlib import Path

import funcnet as fn
from funcnet import compression, data, nn, optim, training
from funcnet import functional as F
from tests.integration.environment import run_script

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "smaller.md").read_text()
PROSE = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
PLACES = {
    "fn": fn,
    "F": F,
    "compression": compression,
    "data": data,
    "nn": nn,
    "nn.utils": nn.utils,
    "nn.utils.rnn": nn.utils.rnn,
    "optim": optim,
    "optim.schedules": optim.schedules,
    "training": training,
}


def test_the_code_runs(tmp_path):
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    # many small programs, each run once
    quick = "--xla_backend_optimization_level=0"
    printed = run_script(script, tmp_path, PYTHONPATH=str(ROOT), XLA_FLAGS=quick)
    assert "80% of the weights are zero" in printed
    assert "(0): Linear(in_features=16, out_features=32)" in printed
    assert (tmp_path / "runs" / "int8.safetensors").exists()


def test_what_the_page_names_exists():
    found = set(re.findall(r"\b((?:fn|F|compression|data|nn|optim|training)(?:\.\w+)+)", PAGE))
    assert len(found) > 50
    for name in sorted(found):
        value = PLACES[name.partition(".")[0]]
        for part in name.split(".")[1:]:
            assert hasattr(value, part), name
            value = getattr(value, part)
    for path in sorted(set(re.findall(r"\]\(([\w/.]+)\)", PAGE))):
        assert (ROOT / "docs" / "guides" / path).exists(), path


def test_calls_in_the_text_give_arguments_that_there_are():
    checked = 0
    for code in re.findall(r"`([\w.]+\([^`]*\))`", PROSE):
        call = ast.parse(code, mode="eval").body
        root, _, name = ast.unparse(call.func).rpartition(".")
        if root not in PLACES:
            continue  # PyTorch's names
        checked += 1
        parameters = inspect.signature(getattr(PLACES[root], name)).parameters
        for keyword in call.keywords:
            assert keyword.arg in parameters, code
    assert checked > 8
