"""MathJax sets every formula of the package, in Chromium, without an error."""

import html
import importlib.util
from pathlib import Path

import pytest

from docs.formulas.latex import latex, lines
from tests.browser import Browser, needs_browser
from tests.docs.formulas.of_docstrings import every_formula, every_latex

PAGE = """<!DOCTYPE html><html><head><meta charset="utf-8"><script>
MathJax = {{
  tex: {{packages: {{'[-]': ['noerrors', 'noundefined']}}}},
  options: {{enableMenu: false}},
  startup: {{pageReady: () => MathJax.startup.defaultPageReady().then(() => document.body.dataset.state = 'ready')}},
}};
</script><script defer src="{script}"></script></head><body>{formulas}</body></html>"""
"""An unknown command is an error here, not red letters."""


def _mathjax():
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    if found is None or found.origin is None:
        pytest.skip("needs MathJax: pip install funcnet[docs]")
    return Path(found.origin).parent / "static/mathjax/tex-chtml.js"


def _shown():
    """Each formula in a line, as Sphinx writes it: inline, and as a display."""
    roles, blocks = every_latex()
    for each in sorted(every_formula()):
        yield rf"\({latex(each)}\)"
        rows = [row if "&" in row else f"& {row}" for row in lines(each)]
        yield _display(" \\\\ ".join(rows))
    yield from (rf"\({each}\)" for each in sorted(roles))
    yield from map(_display, sorted(blocks))


def _display(written):
    return rf"\[\begin{{split}}{written}\end{{split}}\]"


@pytest.mark.slow
def test_mathjax_sets_every_formula(tmp_path):
    needs_browser()
    script, shown = _mathjax(), list(_shown())
    page = tmp_path / "formulas.html"
    rows = "\n".join(f"<p>{html.escape(each)}</p>" for each in shown)
    page.write_text(PAGE.format(script=script.as_uri(), formulas=rows))
    browser = Browser()
    try:
        browser.open(page.as_uri())
        wrong = browser.evaluate(
            "[...document.querySelectorAll('p')].map((p, i) => [i, p.querySelector('mjx-merror'),"
            " p.querySelectorAll('mjx-container').length])"
            ".filter(([i, error, count]) => error || count != 1)"
            ".map(([i, error]) => [i, error ? error.dataset.mjxError || error.title : 'not set'])"
        )
        assert not [(shown[i], error) for i, error in wrong]
        assert browser.evaluate("document.querySelectorAll('mjx-container').length") == len(shown)
    finally:
        browser.close()
