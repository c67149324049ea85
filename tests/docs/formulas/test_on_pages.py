"""Where formulas come to stand on a page of the reference."""

# ruff: noqa: E402
import pytest

nodes = pytest.importorskip("docutils.nodes", reason="needs Sphinx: pip install funcnet[docs]")
pytest.importorskip("sphinx", reason="needs Sphinx: pip install funcnet[docs]")

from docutils.core import publish_doctree

from docs.extensions.formulas import place_formulas


def page(summary, *paragraphs):
    text = "\n\n".join(
        ["F.f\n===", f".. class:: reference-summary\n\n{summary}", *paragraphs, "Next\n----"]
    )
    document = publish_doctree(text, settings_overrides={"doctitle_xform": False})
    place_formulas(document)
    (section,) = [each for each in document.children if isinstance(each, nodes.section)]
    return [each for each in section.children if not isinstance(each, nodes.title | nodes.section)]


def test_what_defines_has_a_line_of_its_own_below_the_summary():
    before, formula, after = page("Gate each element: ``x * sigmoid(x)``, also called swish.")
    assert before.astext() == "Gate each element: "
    assert isinstance(formula, nodes.math_block)
    assert formula.astext() == r"x \cdot \operatorname{sigmoid}(x)"
    assert after.astext() == "also called swish."
    assert before["classes"] == after["classes"] == ["reference-summary"]


def test_a_summary_that_ends_with_its_formula_leaves_nothing_behind():
    before, formula = page("Absolute error: ``|x - y|``.")
    assert before.astext() == "Absolute error: "
    assert formula.astext() == r"\lvert x - y\rvert"


def test_formulas_in_a_row_are_aligned():
    _, formula = page("One step.", "``c' = f c + i g``,\n``h' = o tanh(c')``.")
    assert formula.astext() == "c' &= f\\,c + i\\,g \\\\\nh' &= o\\,\\tanh(c')"


def test_what_comes_after_a_formula_stays():
    _, formula, rest = page("Pool.", "``y = x m``, where ``m`` is 0 or 1, in ``(N, C)``.")
    assert formula.astext() == r"y = x\,m"
    kinds = [type(each) for each in rest.children]
    assert kinds == [nodes.Text, nodes.math, nodes.Text, nodes.literal, nodes.Text]
    assert rest.astext().startswith("where")


def test_a_formula_within_a_sentence_stays_in_it():
    (summary, paragraph) = page("Look up.", "The weight is ``½ e²`` if ``|e| ≤ δ``, else ``p``.")
    assert summary.astext() == "Look up."
    assert [type(each).__name__ for each in paragraph.children[1::2]] == ["math", "math", "literal"]


def test_code_stays():
    (summary, paragraph) = page("Call ``fn.jit(step)``.", "Shapes: ``(N, C)``, ``float32``.")
    assert not [*summary.findall(nodes.math), *paragraph.findall(nodes.math)]
