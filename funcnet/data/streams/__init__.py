"""Datasets that can only be iterated."""
