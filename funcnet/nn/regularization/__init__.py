"""Layers that disturb what passes through them in training."""
