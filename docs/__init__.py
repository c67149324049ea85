"""The documentation site. ``python -m docs.build`` makes it; pages are Markdown, and what a program can write it writes."""
