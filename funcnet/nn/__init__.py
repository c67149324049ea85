"""Layers: they own parameters and call the functions of `funcnet.functional`."""

from funcnet.nn import init as init
