"""Attention as layers, and the transformers made of them."""

from funcnet.core.torch_hints import package_attributes

__getattr__, __dir__ = package_attributes(__name__, ())
