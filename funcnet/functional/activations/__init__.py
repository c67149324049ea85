"""Activations, by the shape of their curve."""
