"""Stateless mathematics on arrays, one family a file, with PyTorch's names and numbers."""
