"""Waiting for what other processes do."""

import time


def until(condition, seconds=20):
    """Wait for something that must come about by itself; fail only if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.01)
