"""Compilation: its limits, its cache, and what is computed again to save memory."""
