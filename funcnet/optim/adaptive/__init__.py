"""Optimizers that scale each element by its own history."""
