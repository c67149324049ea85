"""Smaller models: pruning, quantization, and what they cost, as functions of a model and its arrays."""

from funcnet.core.torch_hints import package_attributes

__all__: list[str] = []

__getattr__, __dir__ = package_attributes(__name__, __all__)
