"""Saving and loading: safetensors plus JSON, atomic, readable by PyTorch."""

from funcnet.checkpoint.weights import load_arrays, load_weights, save_arrays, save_weights

__all__ = ["load_arrays", "load_weights", "save_arrays", "save_weights"]
