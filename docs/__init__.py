"""The documentation site, made by ``python -m docs.build`` of pages that people write and that programs write."""
