"""What is done to gradients before or after the optimizer."""
