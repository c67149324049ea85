"""The list of recipes has every page, in the list to read and in the sidebar's."""

import ast
import re

from docs.generation.assemble import DOCS
from docs.generation.cells import read_cells

FOLDER = DOCS / "howto"
INDEX = (FOLDER / "index.md").read_text()
PAGES = {path.stem: path.read_text() for path in FOLDER.glob("*.md") if path.stem != "index"}


def test_the_list_and_the_sidebar_have_every_page_once():
    listed = re.findall(r"^- \[.+\]\((\w+)\.md\)", INDEX, re.MULTILINE)
    sidebar = INDEX.split(":hidden:")[1].strip("`\n").split()
    assert listed == sidebar
    assert sorted(listed) == sorted(PAGES)


def test_a_page_is_listed_by_its_title():
    titles = dict(re.findall(r"^- \[(.+?)\]\((\w+)\.md\)", INDEX, re.MULTILINE))
    for title, name in titles.items():
        assert PAGES[name].splitlines()[0] == f"# {title}"


def test_links_to_other_recipes_lead_somewhere():
    for name, text in PAGES.items():
        for other in re.findall(r"\]\((\w+)\.md\)", text):
            assert other in PAGES, (name, other)


def test_what_is_shown_needs_nothing_hidden():
    for name, text in PAGES.items():
        cells = [cell for cell in read_cells(f"{name}.md", text.encode()) if cell.is_code]
        hidden = [cell for cell in cells if "remove-cell" in cell.tags]
        shown = _names([cell for cell in cells if cell not in hidden])
        lacking = (_names(hidden)[0] & shown[1]) - shown[0]
        assert not lacking, (name, "a reader who copies the page lacks", lacking)


def _names(cells):
    """Return the names that cells make, and those that they use."""
    made, used = set(), set()
    for node in (node for cell in cells for node in ast.walk(ast.parse(cell.text))):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            made.update(name.asname or name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
    return made, used
