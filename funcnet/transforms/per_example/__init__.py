"""Gradients of single examples, their norms, and sums of them that are clipped or noisy."""
