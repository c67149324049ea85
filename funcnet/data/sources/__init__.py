"""Datasets that live in files: images, text records, tables, tokens, shards."""
