"""The documentation site, made by ``python -m docs.build`` of pages that people write and that programs write.

Pages that people write are Markdown, in a folder for each part of the site. `generation` makes the others, and takes
all of them through a build; `extensions` is what Sphinx is taught, `formulas` writes docstrings' mathematics in LaTeX,
and `theme` is the look.
"""
