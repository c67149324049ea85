"""Datasets with random access, and functions of them."""
