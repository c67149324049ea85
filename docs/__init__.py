"""The documentation site, which ``python -m docs.build`` makes of pages that people write and of what programs write."""
