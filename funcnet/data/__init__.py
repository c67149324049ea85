"""Datasets, order, loading and the embedded sample data; nothing here needs JAX."""

from funcnet.data.arrays import ArrayDataset
from funcnet.data.collate import collate
from funcnet.data.loader import DataLoader
from funcnet.data.mnist import mnist, read_idx
from funcnet.data.order import Permutation
from funcnet.data.shakespeare import shakespeare

__all__ = [
    "ArrayDataset",
    "DataLoader",
    "Permutation",
    "collate",
    "mnist",
    "read_idx",
    "shakespeare",
]
