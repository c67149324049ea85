"""Settings of Sphinx. The pages are in ``docs/_build/source``, which `docs.build` fills."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import funcnet as fn
from docs.theme.look import OPTIONS, SIDEBARS

project = "funcnet"
author = "the funcnet developers"
copyright = f"2026, {author}"
version = release = fn.__version__

extensions = [
    "sphinx.ext.mathjax",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "docs.extensions.references",
    "docs.extensions.sidebar",
    "docs.extensions.source_pages",
    "docs.extensions.formulas",
]
default_role = "py:obj"
html_theme = "furo"
html_title = f"funcnet {release}"
html_static_path = ["theme/static"]
templates_path = ["theme/templates"]
html_css_files = ["funcnet.css", "front.css"]
html_favicon = "theme/static/logo.svg"
html_logo = "theme/static/logo.svg"
html_theme_options = OPTIONS
html_sidebars = SIDEBARS
html_show_sphinx = False
pygments_style = "github-light"
pygments_dark_style = "github-dark"
nb_merge_streams = True
html_copy_source = False

nitpicky = True
python_maximum_signature_line_length = 80
toc_object_entries = False
html_permalinks_icon = "#"
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

_mathjax = importlib.util.find_spec("sphinx-mathjax-offline")
if _mathjax and _mathjax.origin:  # its files alone: as an extension it forbids reading in parallel
    html_static_path.append(str(Path(_mathjax.origin).parent / "static"))
mathjax_path = "mathjax/tex-chtml.js"
exclude_patterns = [
    "mathjax/sre/**",
    "mathjax/a11y/**",
    "mathjax/*full*",
    "mathjax/*svg*",
    "mathjax/*mml*",
]
