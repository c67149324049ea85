"""Optimizers as pairs of pure functions over pytrees, composed from small transformations."""
