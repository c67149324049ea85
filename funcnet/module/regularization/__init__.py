"""What keeps a whole model from fitting its training data too closely: it needs to know the model's layers."""
