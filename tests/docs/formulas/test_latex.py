"""Formulas of docstrings, from Unicode to LaTeX."""

import re

import pytest

from docs.formulas.latex import latex, lines
from docs.formulas.parse import NotAFormulaError, parse
from docs.formulas.recognize import SIGNS, is_formula
from tests.docs.formulas.of_docstrings import docstrings, every_formula, literals

INLINE = {
    "y = x Wᵀ + b": r"y = x\,W^{\top} + b",
    "x / (1 + |x|)": r"x / (1 + \lvert x\rvert )",
    "‖x₁ - x₂ + ε‖_p": r"\lVert x_{1} - x_{2} + \epsilon \rVert_{p}",
    "U(-1/√in_features, 1/√in_features)": (
        r"\mathcal{U}(-1 / \sqrt{\mathrm{in\_features}}, 1 / \sqrt{\mathrm{in\_features}})"
    ),
    "h_{t-1}": "h_{t - 1}",
    "W_ih x_t + b_ih": r"W_{\mathrm{ih}}\,x_{t} + b_{\mathrm{ih}}",
    "c' = f c + i g": r"c' = f\,c + i\,g",
    "T'²": r"T^{\prime 2}",
    "A_ij²": r"A_{ij}^{2}",
    "∇²f(p)": r"\nabla^{2}\,f(p)",
    "∂f/∂x": r"\partial \,f / \partial \,x",
    "H⁻¹ gᵀ": r"H^{-1}\,g^{\top}",
    "m̂_t / (√v̂_t + ε)": r"\hat{m}_{t} / (\sqrt{\hat{v}_{t}} + \epsilon )",
    "ȳ ≤ x̃": r"\bar{y} \le \tilde{x}",
    "2 tp / (2 tp + fp)": r"2\,\mathrm{tp} / (2\,\mathrm{tp} + \mathrm{fp})",
    "½ log 2π": r"\tfrac{1}{2}\,\log 2\pi",
    "½ e²": r"\tfrac{1}{2}e^{2}",
    "log t!": r"\log t!",
    "log softmax(x)_c": r"\log \operatorname{softmax}(x)_{c}",
    "tol (1 + |x|)": r"\mathrm{tol}\,(1 + \lvert x\rvert )",
    "2 ** (-8 (i + 1) / heads)": r"2^{-8(i + 1) / \mathrm{heads}}",
    "base ** -2": r"\mathrm{base}^{-2}",
    "x_c / (k + alpha * n)^beta": r"x_{c} / (k + \alpha \cdot n)^{\beta}",
    "floor(i L / L_out)": r"\lfloor i\,L / L_{\mathrm{out}}\rfloor",
    "sum_{j != i} a_j": r"\sum_{j \ne i} a_{j}",
    "max_t input[..., stride * x + t]": (
        r"\max_{t} \mathrm{input}[\dots, \mathrm{stride} \cdot x + t]"
    ),
    "max_val + min_val": r"\mathrm{max\_val} + \mathrm{min\_val}",
    "mean_{s, t} x": r"\operatorname*{mean}_{s, t} x",
    "Σ_{y∈Y} Σ_{c∉Y} x_c": r"\sum_{y \in Y} \sum_{c \notin Y} x_{c}",
    "Π_{i=1}^n p_i": r"\prod_{i = 1}^{n} p_{i}",
    "(Π p_n)^(1/order)": r"(\prod p_{n})^{1 / \mathrm{order}}",
    "(x - mean) / sqrt(var + eps)": r"(x - \mathrm{mean}) / \sqrt{\mathrm{var} + \epsilon}",
    "tanh² x": r"\tanh^{2}\,x",
    "σ(·)": r"\sigma(\cdot )",
    "x₁·x₂": r"x_{1}\cdot x_{2}",
    "a × b": r"a \times b",
    "[0, 1)": "[0, 1)",
    "concat(head_1, …, head_h) Wᵒ": (
        r"\operatorname{concat}(\mathrm{head}_{1}, \dots, \mathrm{head}_{h})\,W^{o}"
    ),
    "p ← p - γ g": r"p \leftarrow p - \gamma \,g",
    "±g": r"\pm g",
    "p = inf": r"p = \infty",
    "y[s] += w * x": r"y[s] \mathrel{+}= w \cdot x",
    "x if x > 0 else alpha * x": (
        r"x \text{ if } x > 0 \text{ else } \alpha \cdot x"
    ),
}  # fmt: skip

DISPLAYED = {
    "x / (1 + |x|)": r"\frac{x}{1 + \lvert x\rvert}",
    "½ (log v + (x - t)² / v)": (r"\tfrac{1}{2}\left(\log v + \frac{(x - t)^{2}}{v}\right)"),
    "weight = g * v / ‖v‖": r"\mathrm{weight} = g \cdot \frac{v}{\lVert v\rVert}",
    "x Φ(x / √2)": r"x\,\Phi\left(\frac{x}{\sqrt{2}}\right)",
    "exp(x_i) / sum_j exp(x_j)": r"\frac{\exp(x_{i})}{\sum_{j} \exp(x_{j})}",
    "1 - Σ a / Σ b": r"1 - \frac{\sum a}{\sum b}",
    "Σ_i a_i / b_i": r"\sum_{i} \frac{a_{i}}{b_{i}}",
    "Σ_i a_i / n": r"\frac{\sum_{i} a_{i}}{n}",
    "s * (x if x > 0 else 0)": (
        r"s \cdot \begin{cases}x & \text{if } x > 0 \\ 0 & \text{otherwise}\end{cases}"
    ),
    "y = x if x > 0 else 0": (
        r"y = \begin{cases}x & \text{if } x > 0 \\ 0 & \text{otherwise}\end{cases}"
    ),
}

NO_FORMULAS = [
    "(N, C, L)", "(*, in_features)", "(C_out, C_in / groups, K)", "(3 * embed_dim,)", "(..., C K_h K_w, L)",
    "(G·H, I)", "(N, T, ·)", "(…, lengths)", "float32", "weight_decay", "x", "-inf", "-lambd", "jnp.tanh", "jax.*",
    "p > 0", "segment_ids > 0", 'reduction="none"', "where=mask", "where=ids > 0", "train/loss", "runs/a/best",
    "POST /predict", "[(x,), (y,)]",
    "model-00001-of-00003.safetensors", "all-gather", "earlier-1", "step -> value", "f(params, *batch)",
    "x + self.table", "params, state", "c b | a b c | b a", "net = fn.functionalize(module)", "dict[str, Array]",
    "x == y", "x % 2", "size // 2", "f32[8,16]", "align_corners=True", "sum", "softmax", "0, 1, 2, …",
    "tensorboard --logdir runs", "chain(powersgd(), …)", "experts.0.…", "every name", "loss(input, target)",
]  # fmt: skip


@pytest.mark.parametrize(("text", "written"), INLINE.items())
def test_inline(text, written):
    assert latex(text) == written


@pytest.mark.parametrize(("text", "written"), DISPLAYED.items())
def test_displayed(text, written):
    assert latex(text, display=True) == written


@pytest.mark.parametrize("text", INLINE)
def test_mathematics_is_told_from_code(text):
    assert is_formula(text)


@pytest.mark.parametrize("text", NO_FORMULAS)
def test_code_is_told_from_mathematics(text):
    assert not is_formula(text)


def test_a_letter_alone_is_mathematics_where_formulas_use_it_and_it_is_no_argument():
    assert is_formula("k", frozenset("k"))
    assert is_formula("a, b", frozenset("ab"))
    assert is_formula("t > 1", frozenset("t"))
    assert not is_formula("k", frozenset("k"), frozenset("k"))
    assert not is_formula("k", frozenset("x"))


@pytest.mark.parametrize("text", ["x +", "(x", "|x", "x)", "a b /", "x²^2", "if x", "x if y", ""])
def test_what_is_no_formula_says_so(text):
    with pytest.raises(NotAFormulaError):
        parse(text)


def test_a_long_display_goes_on_in_the_next_line():
    found = lines(
        "output[n, o, x] = bias[o] + sum_{i, t} weight[o, i, t] * input[n, i, stride * x + dilation * t]"
    )
    assert len(found) == 2
    assert found[0].endswith(r"&= \mathrm{bias}[o]")
    assert found[1].startswith(r"&\quad{} + \sum_{i, t}")


@pytest.mark.parametrize("text", every_formula())
def test_every_formula_of_the_package_converts(text):
    for written in (latex(text), *lines(text)):
        assert written.isascii()
        assert _balanced(written)


def _balanced(written):
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", written):
        depth += 1 if sign == "{" else -1
        if depth < 0:
            return False
    left, right = written.count(r"\left"), written.count(r"\right")
    return depth == 0 and left - written.count(r"\leftarrow") == right


def test_literals_with_signs_of_mathematics_are_formulas():
    odd = {
        text: path
        for path, docstring in docstrings().items()
        for text in literals(docstring)
        if set(text) & SIGNS and not is_formula(text)
    }
    assert not odd
