"""Attention as layers, and the transformers made of them."""
