"""Normalization, by what the statistics are taken over.

`funcnet.nn.normalization` has the layers in files of the same names.
"""
