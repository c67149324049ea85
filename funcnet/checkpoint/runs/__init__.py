"""A run's checkpoints: one folder for each step, written in the background, whole or not at all."""
