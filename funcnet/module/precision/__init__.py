"""In which dtype each part of a model computes: what `mixed_precision` worked out, and how a call keeps to it."""
