"""Attention and what it needs to know of positions."""
