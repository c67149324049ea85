"""Datasets, order, loading and the embedded sample data; nothing here needs JAX."""
