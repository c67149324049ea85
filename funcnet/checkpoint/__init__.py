"""Saving and loading: safetensors plus JSON, atomic, readable by PyTorch."""
