"""Datasets with a length and indices: `ArrayDataset`, and those made of other datasets."""
