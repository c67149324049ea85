"""Gradient descent with momentum, signs, layer norms, or averages."""
