"""The code of every page runs from the top, without Sphinx and Jupyter.

Most pages share a process, each with a namespace of its own; the site's build gives every page a fresh kernel.
"""

import json
import re
from contextlib import closing

import pytest

from docs.generation.assemble import DOCS
from docs.generation.cells import is_executed, read_cells
from docs.generation.repository import ROOT
from tests.docs.pages.runner import Runner, runs_alone

PAGES = {
    path.relative_to(DOCS).as_posix(): path
    for path in sorted(DOCS.rglob("*.md"))
    if "_build" not in path.parts and is_executed(path.name, path.read_bytes())
}


@pytest.fixture(scope="module")
def shared():
    with closing(Runner()) as runner:
        yield runner


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, shared):
    with closing(Runner()) as own:
        runner = own if runs_alone(read_cells(PAGES[page])) else shared
        answer = runner.run(PAGES[page])
    if "missing" in answer:
        pytest.skip(f"needs a package: {answer['missing']}")
    assert "passed" in answer, answer["failed"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = 1", None),
        ("x", "page.md, cell 1, line 1\n.*NameError: name 'x' is not defined"),
        (":tags: [raises-exception]\nx = 1", "raised nothing"),
        ("import no_such_package", "No module named 'no_such_package'"),
        ("import os; os._exit(3)", "page.md ended the process"),
        ("x = 2", None),
    ],
)
def test_what_is_said_of_a_page(tmp_path, shared, code, said):
    """Whatever a page does, the next one runs."""
    path = tmp_path / "page.md"
    path.write_text(f"```{{code-cell}} python\n{code}\n```\n")
    answer = shared.run(path)
    assert ("passed" in answer) == (said is None), answer
    if said is not None:
        assert re.search(said, "".join(answer.values()), re.DOTALL)


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
