"""Observers: what looks at a run from outside, to log, to draw, to stop it."""
