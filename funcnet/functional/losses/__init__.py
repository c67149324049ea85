"""Losses, and the reductions that all of them share."""
