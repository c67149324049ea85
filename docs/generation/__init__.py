"""What the site has beside the pages in `docs`: each file here makes pages of one kind.

A generator is a module with ``pages() -> dict[str, str]``: texts by their paths in the site's source, in
reStructuredText or Markdown by the suffix. `assemble` puts pages that people write and those that are made into one
folder, `execute` runs the notebooks among them, and Sphinx makes HTML of that folder.
"""
