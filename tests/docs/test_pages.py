"""The code of every page runs from the top, in a process of its own, without Sphinx and Jupyter."""

import json
import os
import subprocess
import sys

import pytest

from docs.generation.assemble import DOCS
from docs.generation.cells import is_executed, read_cells
from docs.generation.repository import ROOT
from tests.docs.run_page import MISSING

PAGES = {
    path.relative_to(DOCS).as_posix(): path
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts and is_executed(path.name, path.read_bytes())
}

AS_USERS_RUN = {
    name: value
    for name, value in os.environ.items()
    if name not in {"XLA_FLAGS", "JAX_NUM_CPU_DEVICES"}
}


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page):
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.run_page", str(PAGES[page])],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env=AS_USERS_RUN | {"PYTHONPATH": str(ROOT)},
    )
    said = done.stderr.strip().splitlines()
    if done.returncode == MISSING:
        pytest.skip(f"needs a package: {said[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_cells_are_python(page):
    """Pages have no magic commands: they are copied into scripts."""
    for cell in read_cells(PAGES[page]):
        if cell.is_code:
            compile(cell.text, f"{page}, line {cell.line}", "exec")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_says_first_what_one_can_do_at_its_end(path):
    first = read_cells(path)[0]
    title, promise, *_ = first.text.split("\n\n")
    assert title.startswith("# ")
    assert promise.startswith("At the end of this page you can ")


def test_the_page_of_the_hour_lists_every_notebook():
    listed = (DOCS / "learn/index.md").read_text()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"(../../notebooks/{path.name})" in listed
        assert json.loads(path.read_text())["nbformat"] == 4
