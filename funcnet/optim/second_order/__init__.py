"""Optimizers that use curvature, or treat a matrix as a matrix."""
