"""Modules around modules, and functions that change a description."""
