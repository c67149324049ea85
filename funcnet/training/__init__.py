"""Train state, the loop, metrics, progress."""
