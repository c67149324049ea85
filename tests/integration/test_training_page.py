"""docs/guides/training.md: its code runs as printed, and what it names is there and takes what it is given."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import funcnet as fn
from funcnet import optim, training
from tests.integration.environment import run_script

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "training.md").read_text()
PROSE = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)


def test_the_code_runs(tmp_path):
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    printed = run_script(script, tmp_path, PYTHONPATH=str(ROOT))
    assert "in epoch 1, at step " in printed
    for name in ("mistakes.png", "curves.png"):
        assert (tmp_path / "runs" / name).read_bytes().startswith(b"\x89PNG")


def test_what_the_page_names_exists():
    for place, name in sorted(set(re.findall(r"\b(fn|optim|training)\.(\w+)", PAGE))):
        assert hasattr({"fn": fn, "optim": optim, "training": training}[place], name), name
    pictures = PAGE.partition("`training.pictures` has")[2].partition(";")[0]
    for name in re.findall(r"`(\w+)`", pictures):
        assert callable(getattr(training.pictures, name)), name
    listed = PAGE.partition("## Metrics")[2].partition("## Observers")[0]
    for name in sorted(set(re.findall(r"`([A-Z]\w+)`", listed))):
        assert hasattr(training.metrics, name), name
    for path in sorted(set(re.findall(r"\]\(([\w/.]+)\)", PAGE))):
        assert (ROOT / "docs" / "guides" / path).exists(), path


def test_observers_take_what_the_table_gives_them(tmp_path):
    pytest.importorskip("tensorboard")
    rows = re.findall(r"^\| (`.*`) \|", PAGE.partition("## Observers")[2], re.MULTILINE)
    given = vars(training) | {"path": tmp_path / "a", "folder": tmp_path / "b", "function": print}
    made = [eval(code, given) for row in rows for code in re.findall(r"`(\w+\(.*?\))`", row)]
    assert all(isinstance(one, training.Observer) for one in made)
    classes = {
        one
        for one in map(vars(training).get, training.__all__)
        if isinstance(one, type) and issubclass(one, training.Observer)
    }
    assert {type(one) for one in made} == classes - {training.Observer}


def test_calls_in_the_text_give_arguments_that_there_are():
    places = {"": training, "fn": fn, "optim": optim, "training": training}
    checked = 0
    for code in re.findall(r"`([\w.]+\([^`]*\))`", PROSE):
        try:
            call = ast.parse(code, mode="eval").body
        except SyntaxError:  # a row of two codes
            continue
        root, _, name = ast.unparse(call.func).rpartition(".")
        found = getattr(places.get(root), name, None)
        if found is None:
            continue  # Lightning's and Keras' names
        checked += 1
        parameters = inspect.signature(found).parameters
        for keyword in call.keywords:
            assert keyword.arg in parameters, code
    assert checked > 10
