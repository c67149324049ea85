"""Formulas of docstrings, in LaTeX.

Docstrings are read in terminals: their formulas are Unicode in double backticks, ``y = x Wᵀ + b``. `parse` reads them
into a `tree`, `recognize` tells them from code, and `latex` writes them. `docs.extensions.formulas` does so on pages.
"""
