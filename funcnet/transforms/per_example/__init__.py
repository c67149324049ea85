"""Gradients of single examples, and what private training makes of them."""
