"""Datasets that can only be iterated: `IterableDataset`, and what `filter` and `flat_map` make."""
