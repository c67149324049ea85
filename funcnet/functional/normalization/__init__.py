"""Normalization, by what the statistics are taken over."""
