"""The list of recipes has every page, in the list to read and in the sidebar's."""

import re

from docs.generation.assemble import DOCS

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
