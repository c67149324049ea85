"""What the characters and words of formulas are in LaTeX."""

__all__ = [
    "ACCENTS",
    "BIG",
    "FRACTIONS",
    "FUNCTIONS",
    "GREEK",
    "GREEK_WORDS",
    "PRODUCTS",
    "RELATIONS",
    "SUBSCRIPTS",
    "SUPERSCRIPTS",
    "SYMBOLS",
]

GREEK = {
    "α": r"\alpha",
    "β": r"\beta",
    "γ": r"\gamma",
    "δ": r"\delta",
    "ε": r"\epsilon",
    "ϵ": r"\epsilon",
    "ζ": r"\zeta",
    "η": r"\eta",
    "θ": r"\theta",
    "κ": r"\kappa",
    "λ": r"\lambda",
    "μ": r"\mu",
    "ν": r"\nu",
    "ξ": r"\xi",
    "π": r"\pi",
    "ρ": r"\rho",
    "σ": r"\sigma",
    "τ": r"\tau",
    "φ": r"\varphi",
    "ϕ": r"\phi",
    "χ": r"\chi",
    "ψ": r"\psi",
    "ω": r"\omega",
    "Γ": r"\Gamma",
    "Δ": r"\Delta",
    "Θ": r"\Theta",
    "Λ": r"\Lambda",
    "Φ": r"\Phi",
    "Ψ": r"\Psi",
    "Ω": r"\Omega",
}

GREEK_WORDS = {
    "alpha": r"\alpha",
    "beta": r"\beta",
    "gamma": r"\gamma",
    "delta": r"\delta",
    "eps": r"\epsilon",
    "lambd": r"\lambda",
    "tau": r"\tau",
    "theta": r"\theta",
    "inf": r"\infty",
}
"""Arguments whose names are those of letters."""

SYMBOLS = {
    "∞": r"\infty",
    "∇": r"\nabla",
    "∂": r"\partial",
    "ℓ": r"\ell",
    "…": r"\dots",
    "...": r"\dots",
    "⊤": r"\top",
    "∅": r"\emptyset",
}

FRACTIONS = {"½": (1, 2), "¼": (1, 4), "¾": (3, 4), "⅓": (1, 3), "⅔": (2, 3), "⅛": (1, 8)}

SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True)) | {
    "ᵀ": r"\top",
    "ᴴ": "H",
    "ᵒ": "o",
    "ⁱ": "i",
    "ⁿ": "n",
    "ᵏ": "k",
    "ᵖ": "p",
    "ᵗ": "t",
    "ˣ": "x",
}

SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True)) | dict(
    zip("ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "aehijklmnoprstuvx", strict=True)
)

ACCENTS = {"\u0302": r"\hat", "\u0304": r"\bar", "\u0303": r"\tilde", "\u0307": r"\dot"}
"""Combining characters."""

BIG = {"Σ": r"\sum", "∑": r"\sum", "Π": r"\prod", "∏": r"\prod", "∫": r"\int"}
"""Signs over an index; ``Σ`` is never the letter."""

PRODUCTS = {"*": r"\cdot", "·": r"\cdot", "×": r"\times", "@": r"\,", "⊙": r"\odot", "∘": r"\circ"}

RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "<=": r"\le",
    "≤": r"\le",
    ">=": r"\ge",
    "≥": r"\ge",
    "≠": r"\ne",
    "!=": r"\ne",
    "≈": r"\approx",
    "∝": r"\propto",
    "∼": r"\sim",
    "∈": r"\in",
    "∉": r"\notin",
    "in": r"\in",
    "←": r"\leftarrow",
    "→": r"\to",
    "↦": r"\mapsto",
    "⊂": r"\subset",
    "+=": r"\mathrel{+}=",
    "…": r"\dots",
}

FUNCTIONS = {
    name: rf"\{name}"
    for name in ("exp", "log", "max", "min", "tanh", "cos", "sin", "tan", "sinh", "cosh", "det")
} | {
    name: rf"\operatorname{{{name}}}"
    for name in (
        "clip",
        "concat",
        "cov",
        "diag",
        "erf",
        "hardsigmoid",
        "log1p",
        "logsumexp",
        "mean",
        "round",
        "sigmoid",
        "sign",
        "softmax",
        "softplus",
        "trace",
        "var",
    )
}
"""Words that are functions, with or without a bracket after them."""
