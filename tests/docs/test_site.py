"""What makes the site: execution, the check of links, versions, summaries, one text."""

import json
import subprocess
import sys

import pytest

from docs import build
from docs.generation.links import Links
from docs.generation.publish import publish, versions
from docs.generation.repository import ROOT
from docs.generation.summaries import summary
from docs.generation.text import reading_order


def html(folder, **pages):
    for name, text in pages.items():
        path = folder / f"{name}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<html><body>{text}</body></html>")
    return folder


# ---- the command line ----------------------------------------------------------------------------


def told(monkeypatch, *words):
    """What a build that ends at once says."""
    monkeypatch.setattr(sys, "argv", ["build", *words])
    with pytest.raises(SystemExit) as ended:
        build.main()
    return ended.value.code


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(build, "NEEDED", ("json", "no_such_package"))
    assert told(monkeypatch) == 'no_such_package not installed: pip install -e ".[docs]"'


def test_a_place_that_cannot_be_written_is_told_of_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "NEEDED", ())
    monkeypatch.setattr(build, "build", None)
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "site"):
        assert told(monkeypatch, "--out", str(place)).startswith("the site cannot be written to")


def test_a_build_that_is_stopped_leaves_the_site(monkeypatch, tmp_path):
    pytest.importorskip("nbclient")

    def stops(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "NEEDED", ())
    monkeypatch.setattr(build, "build", stops)
    before = publish(html(tmp_path / "built", index="one"), tmp_path / "site", "1.0")
    said = told(monkeypatch, "--out", str(tmp_path / "site"))
    assert said == "stopped: the site that was there is as it was"
    assert "one" in (before / "index.html").read_text()


@pytest.mark.parametrize(
    ("status", "kept"), [(0, True), (build.WARNED, True), (2, False), (-9, False)]
)
def test_after_a_killed_build_all_pages_are_written_again(monkeypatch, tmp_path, status, kept):
    """Pages that were written before the search's index was would be missing in it."""
    written = html(tmp_path / "html", page="")
    for code in (status, 0):
        done = subprocess.CompletedProcess([], code)
        monkeypatch.setattr(subprocess, "run", lambda *args, done=done, **settings: done)
        if code:
            with pytest.raises(SystemExit):
                build.html(tmp_path / "source", written, 1, strict=True)
            assert written.exists()
        else:
            build.html(tmp_path / "source", written, 1, strict=True)
    assert written.exists() == kept


# ---- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ('<a href="gone.html">', "there is no such file"),
        ('<a href="b.html#gone">', "the page has no such anchor"),
        ('<a href="#gone">', "the page has no such anchor"),
        ('<img src="gone.png">', "there is no such file"),
        ('<a href="../../etc/passwd">', "leads out of the site"),
        ('<a href="https://nowhere">', "no address of the web"),
        ('<script src="//cdn.org/a.js">', "an address without http"),
    ],
)
def test_a_broken_link_is_found(tmp_path, link, said):
    html(tmp_path, a=link, b='<p id="here">')
    (found,) = Links.read(tmp_path).broken()
    assert found.startswith("a.html: ")
    assert found.endswith(said)


def test_links_that_are_whole(tmp_path):
    html(
        tmp_path,
        a='<a href="b.html#h%C3%AAre"><a href="?q=1"><a href="mailto:a@b.c">',
        b='<p id="hêre">',
    )
    html(
        tmp_path,
        a2='<!-- <a href="gone"> --><script>"<a href=x>"</script><a href="https://a.org/b?c#d">',
    )
    links = Links.read(tmp_path)
    assert links.broken() == []
    assert links.external() == {"https://a.org/b?c#d": ["a2.html"]}


# ---- versions ------------------------------------------------------------------------------------


def test_versions_stay_and_the_newest_leads(tmp_path):
    built = html(tmp_path / "built", index="new")
    (built / "llms.txt").write_text("text")
    out = tmp_path / "site"
    for version in ("0.9.0", "0.10.0", "0.2.0"):
        publish(built, out, version)
    assert versions(out) == ["0.10.0", "0.9.0", "0.2.0"]
    assert '["0.10.0", "0.9.0", "0.2.0"]' in (out / "versions.js").read_text()
    assert "0.10.0/index.html" in (out / "index.html").read_text()
    assert (out / "llms.txt").read_text() == "text"
    assert not list(out.glob(".*"))


def test_a_site_is_replaced_whole(tmp_path):
    built = html(tmp_path / "built", index="one", gone="x")
    publish(built, tmp_path / "site", "1.0")
    (built / "gone.html").unlink()
    place = publish(html(built, index="two"), tmp_path / "site", "1.0")
    assert "two" in (place / "index.html").read_text()
    assert not (place / "gone.html").exists()


def test_a_release_is_newer_than_its_candidates(tmp_path):
    for version in ("1.0rc1", "1.0", "1.0.1", "not-a-version"):
        (tmp_path / version).mkdir()
    assert versions(tmp_path) == ["1.0.1", "1.0", "1.0rc1"]


# ---- texts ---------------------------------------------------------------------------------------


def test_a_summary_is_the_first_paragraph():
    page = '<nav><p>no</p></nav><article role="main"><h1>T</h1><p>A &amp; <b>b</b>.</p><p>c</p>'
    assert summary(page) == "A & b."
    assert len(summary(f'<article role="main"><p>{"word " * 100}</p>')) < 200
    assert summary("<p>nothing of the text</p>") == ""


def test_pages_are_read_in_the_order_of_the_contents():
    tree = "```{{toctree}}\n:hidden:\n\n{}\n```"
    pages = {
        "index.md": tree.format("b/index\na").encode(),
        "a.md": b"# A",
        "b/index.md": tree.format(":glob:\n\n*").encode(),
        "b/y.ipynb": b'{"cells": []}',
        "b/x.md": b"# X",
        "c.md": b"# not in any contents",
    }
    assert reading_order(pages) == ["index.md", "b/index.md", "b/x.md", "b/y.ipynb", "a.md"]


# ---- execution -----------------------------------------------------------------------------------


def test_a_line_of_a_cell_has_no_hash():
    pytest.importorskip("nbclient", reason="pages are executed with it")
    from docs.generation.execute import with_lines_of_cells

    table = "operation  line\n" + "─" * 33 + "\nlog        ipykernel_42/565035454.py:10\n"
    assert with_lines_of_cells(table) == f"operation  line\n{'─' * 18}\nlog        cell:10\n"
    assert with_lines_of_cells("by log, 716767590.py:21 (step)") == "by log, cell:21 (step)"
    assert with_lines_of_cells("model.py:31, 2024.py:1") == "model.py:31, 2024.py:1"


SCRIPT = """
import json, sys
from pathlib import Path
from docs.generation import execute
execute.BUILD = Path(sys.argv[1])
if sys.argv[3] == "kept":
    execute.execute = None  # so that nothing can run
pages = {name: text.encode() for name, text in json.loads(sys.argv[2]).items()}
try:
    done = execute.execute_all(pages)
except execute.PageFailedError as error:
    sys.exit(f"failed: {error}")
print(json.dumps({name: text.decode() for name, text in done.items()}))
"""


def executed(folder, pages, kept=""):
    """Execute pages in a process of its own: kernels leave sockets behind, which a test must not."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), json.dumps(pages), kept],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else done.stderr


def page(*cells):
    return "# T\n\n" + "\n\n".join(f"```{{code-cell}} python\n{cell}\n```" for cell in cells)


def test_pages_become_notebooks_with_what_they_show(tmp_path):
    text = page("x = 2", ":tags: [raises-exception]\nraise ValueError('wrong')", "print(x * 21)")
    pages = {"a.md": text, "b.md": "# B"}
    done = executed(tmp_path, pages)
    assert set(done) == {"a.ipynb", "b.md"}
    assert "42\\n" in done["a.ipynb"]
    assert "ValueError" in done["a.ipynb"]
    assert len(list(tmp_path.rglob("*.ipynb"))) == 1
    assert executed(tmp_path, pages, "kept") == done
    other = executed(tmp_path, {"a.md": text.replace("# T", "# Other")}, "kept")
    assert "42\\n" in other["a.ipynb"]
    assert "# Other" in other["a.ipynb"]


def test_a_cell_that_fails_is_named(tmp_path):
    pages = {
        "howto/a.md": page("x = 1", "y = 1\nx / 0"),
        "howto/b.md": page("import no_such_package"),
        "howto/c.md": "```{code-cell} python\nx = 1\n",
    }
    said = executed(tmp_path, pages)
    assert "howto/a.md, code cell 2 raised ZeroDivisionError: division by zero" in said
    assert "    x / 0" in said
    assert "howto/b.md, code cell 1 needs a package that is not installed" in said
    assert "howto/c.md, line 1: the cell is not closed" in said
    assert "Traceback" not in said
