"""What a build does before and after Sphinx.

Generators make what the site has beside the pages that people write: `reference`, `pictures`, `dictionary`,
`other_libraries`, `examples`. A generator is a module with ``pages() -> dict[str, str]``: texts by their paths in the
site's source, in reStructuredText or Markdown by the suffix. `names` lists the public names for all of them.

`assemble` puts all pages into one folder, and with `repository` leads their links there. `execute` runs what `cells`
reads. Sphinx makes HTML of it, to which `summaries` adds the lines of search results and `text` the whole as one text;
`links` checks it, and `publish` puts it where people open it.

`ratios` is run by hand, when something was measured: it writes the tables of numbers into the pages.
"""
