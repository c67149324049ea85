"""Layers that move, resize or rearrange pixels."""
