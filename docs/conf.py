"""Settings of Sphinx. The pages are in ``docs/_build/source``, which `docs.build` fills."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import funcnet as fn

project = "funcnet"
author = "the funcnet developers"
copyright = f"2026, {author}"
version = release = fn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",
]
default_role = "py:obj"
html_theme = "furo"
html_title = f"funcnet {release}"
html_static_path = ["theme/static"]
html_css_files = ["front.css"]
html_copy_source = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_custom_sections = ["Example"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
