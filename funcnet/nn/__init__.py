"""Layers: they own parameters and call the functions of `funcnet.functional`."""
