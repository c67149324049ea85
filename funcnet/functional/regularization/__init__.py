"""Noise, labels and penalties that keep a model from fitting its training data too closely."""
