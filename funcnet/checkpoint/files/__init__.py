"""Formats of files that hold arrays."""
