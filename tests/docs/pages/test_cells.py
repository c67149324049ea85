"""Pages are read as cells, and links to the repository's files lead to pages."""

import json

import pytest

from docs.generation import assemble
from docs.generation.cells import PageError, is_executed, read_cells, split_front_matter
from docs.generation.repository import place_on_site, rewrite_links, source_page

PAGE = b"""# Title

Prose with `code`.

```{code-cell} python
:tags: [raises-exception, hide-output]
1 / 0
```

```python
shown = "only"
```

````{note}
```{code-cell} python
inside
```
````

```{code-cell} python
x = 1

x
```
"""


def test_cells_of_a_page():
    cells = read_cells("page.md", PAGE)
    assert [cell.is_code for cell in cells] == [False, True, False, True]
    assert cells[1].text == "1 / 0"
    assert cells[1].tags == ("raises-exception", "hide-output")
    assert cells[1].fails
    assert cells[1].line == 5
    assert cells[3].text == "x = 1\n\nx"
    assert not cells[3].fails
    assert "inside" in cells[2].text
    assert "shown" in cells[2].text


def test_cells_of_a_notebook():
    cell = {"cell_type": "code", "source": ["a\n", "b"], "metadata": {"tags": ["raises-exception"]}}
    prose = {"cell_type": "markdown", "source": "# T", "metadata": {}}
    found = read_cells("n.ipynb", json.dumps({"cells": [prose, cell]}).encode())
    assert [(c.text, c.is_code, c.fails) for c in found] == [
        ("# T", False, False),
        ("a\nb", True, True),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```{code-cell} python\nx", "page.md, line 1: the cell is not closed"),
        ("\n```{code-cell} python\n:number: 3\nx\n```", "line 2: .* no option 'number'"),
        (":::{note}\n```{code-cell} python\nx\n```\n:::", "line 2: .* outermost"),
    ],
    ids=["not closed", "unknown option", "in a box"],
)
def test_a_page_that_is_written_wrongly_is_refused(text, said):
    with pytest.raises(PageError, match=said):
        read_cells("page.md", text.encode())


def test_what_is_executed():
    assert is_executed("a.ipynb", b"")
    assert is_executed("a.md", PAGE)
    assert not is_executed("a.md", b"# Text")
    assert split_front_matter("---\na: 1\n---\n# T\n") == ("a: 1\n", "# T\n")
    assert split_front_matter("# T\n---\n") == ("", "# T\n---\n")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("docs/guides/export.md", "guides/export.md"),
        ("notebooks/05_data.ipynb", "learn/05_data.ipynb"),
        ("examples/mnist.py", "examples/mnist.md"),
        ("examples", "examples/index.md"),
        ("ARCHITECTURE.md", "how_it_works/architecture.md"),
        ("funcnet/no_such_file.py", None),
        ("funcnet/nn/__init__.py", "source/funcnet/nn/__init__.py.md"),
        ("benchmarks", "source/benchmarks/index.md"),
        ("docs/images/mnist_mistakes.png", "images/mnist_mistakes.png"),
    ],
)
def test_where_a_file_is_on_the_site(path, place):
    assert place_on_site(path) == place


def rewritten(text, path="docs/howto/page.md", page="howto/page.md"):
    wanted = set()
    return rewrite_links(text, path, page, lambda name: name, wanted), wanted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](../../examples/mnist.py)", "[a](../examples/mnist.md)"),
        ("[`a`](../../funcnet/nn/__init__.py)", "[`a`](../source/funcnet/nn/__init__.py.md)"),
        ("[a](../../ARCHITECTURE.md#ranks)", "[a](../how_it_works/architecture.md#ranks)"),
        ("[a](other.md)", "[a](other.md)"),
        ("[a](https://a.b/c)", "[a](https://a.b/c)"),
        ("[a](#here)", "[a](#here)"),
        ("`x[0](../../README.md)`", "`x[0](../../README.md)`"),
        ("```\n[a](../../README.md)\n```", "```\n[a](../../README.md)\n```"),
        (
            "```{code-cell} python\nx\n```\n[a](../../README.md)\n```{code-cell} python\ny\n```",
            "```{code-cell} python\nx\n```\n[a](../index.md)\n```{code-cell} python\ny\n```",
        ),
        ("```{note}\n[a](../../README.md)\n```", "```{note}\n[a](../index.md)\n```"),
        ("[a](../../no_such_file.py)", "[a](../../no_such_file.py)"),
    ],
)
def test_links_lead_to_pages(text, expected):
    assert rewritten(text)[0] == expected


def test_files_that_are_linked_to_get_a_page():
    _, wanted = rewritten("[a](../../funcnet/nn/__init__.py) and [b](../../examples/mnist.py)")
    assert wanted == {"funcnet/nn/__init__.py"}
    page = source_page("funcnet/nn/__init__.py")
    assert page.startswith("---\norphan: true\nnosearch: true\n---")
    assert "{source-code} funcnet/nn/__init__.py" in page
    assert "- [step_overhead.py](step_overhead.py)" in source_page("benchmarks")


def test_a_site_that_does_not_change_is_not_written_again(tmp_path):
    pages = {"a.md": b"# A", "b/c.md": b"# C"}
    assemble.write(tmp_path, pages)
    before = (tmp_path / "a.md").stat().st_mtime_ns
    assemble.write(tmp_path, {"a.md": b"# A"})
    assert (tmp_path / "a.md").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.rglob("*.md")] == ["a.md"]
