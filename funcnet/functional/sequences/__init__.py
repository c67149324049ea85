"""Sequences of unequal length in arrays of one shape: padded with lengths, or packed with segment ids."""
