"""The front page and README: two programs, one for each library, that give the same losses."""

import ast
import io
import re
from contextlib import redirect_stdout

import jax
import numpy as np
import pytest

import funcnet as fn
from tests.integration.environment import run_script
from tests.meta.source import ROOT

FRONT = (ROOT / "docs/index.md").read_text()
README = (ROOT / "README.md").read_text()
(OURS,) = re.findall(r"```\{code-cell\} python\n(.*?)```", FRONT, re.DOTALL)
(THEIRS,) = re.findall(r"\*\*PyTorch\*\*\n\n```python\n(.*?)```", FRONT, re.DOTALL)


def run_part(program, variables, part):
    """Run a program's statements: those before the loop over batches, the loop, or those after it."""
    statements = ast.parse(program).body
    (at,) = [n for n, statement in enumerate(statements) if isinstance(statement, ast.For)]
    chosen = {"before": slice(at), "loop": slice(at, at + 1), "after": slice(at + 1, None)}[part]
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(ast.Module(statements[chosen], []), part, "exec"), variables)
    return printed.getvalue()


def test_both_programs_give_the_same_losses():
    torch = pytest.importorskip("torch")
    ours, theirs = {}, {}
    with jax.numpy_dtype_promotion("standard"):  # as users run it
        run_part(OURS, ours, "before")
        run_part(THEIRS, theirs, "before")
        start = fn.state_dict(ours["net"].module, ours["params"], ours["state"])
        theirs["model"].load_state_dict(
            {name: torch.tensor(np.asarray(array)) for name, array in start.items()}
        )
        losses = []
        for batch in list(ours["data"].DataLoader(ours["train"], batch_size=100, shuffle=True)):
            carried = [ours[name] for name in ("params", "state", "opt_state")]
            *carried, loss = ours["step"](*carried, batch)
            ours |= dict(zip(("params", "state", "opt_state"), carried, strict=True))
            there = theirs["step"]({name: torch.tensor(array) for name, array in batch.items()})
            losses.append((float(loss), float(there)))
        ours["loss"], theirs["loss"] = losses[-1]
        said = [run_part(p, v, "after") for p, v in ((OURS, ours), (THEIRS, theirs))]
    a, b = np.transpose(losses)
    # float32 through 40 steps of AdamW, whose first ones divide by almost nothing
    np.testing.assert_allclose(a, b, rtol=5e-3)
    np.testing.assert_allclose(a[:5], b[:5], rtol=1e-5)
    accuracies = [float(re.search(r"accuracy ([\d.]+)%", text)[1]) for text in said]
    assert abs(accuracies[0] - accuracies[1]) <= 0.3  # three digits of a thousand
    assert min(accuracies) > 85


def test_both_programs_are_of_one_length():
    ours, theirs = (len([line for line in p.splitlines() if line]) for p in (OURS, THEIRS))
    assert abs(ours - theirs) <= 2
    # two fit beside each other
    assert max(len(line) for line in (OURS + THEIRS).splitlines()) <= 71


def test_the_programs_of_readme_are_those_of_the_front_page(tmp_path):
    assert re.findall(r"```python\n(.*?)```", README, re.DOTALL) == [OURS, THEIRS]


def test_their_program_runs_as_it_stands(tmp_path):
    pytest.importorskip("torch")
    printed = run_script(THEIRS, tmp_path, PYTHONPATH=str(ROOT))
    assert float(re.search(r"test accuracy ([\d.]+)%", printed)[1]) > 85


def test_the_citation_has_the_package_s_version():
    text = (ROOT / "CITATION.cff").read_text()
    said = dict(re.findall(r"^([a-z-]+): *(.*)$", text, re.MULTILINE))
    assert said["version"] == fn.__version__
    assert said["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type", "license"} <= said.keys()


def test_the_picture_is_small():
    (first, *_) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert (ROOT / first).stat().st_size < 100_000
