"""Datasets, order, loading and the embedded sample data; nothing here needs JAX."""

from funcnet.data.arrays import ArrayDataset
from funcnet.data.collate import collate
from funcnet.data.datasets import ConcatDataset, Dataset, StackDataset, Subset, random_split
from funcnet.data.errors import SampleError, WorkerDiedError
from funcnet.data.loader import DataLoader
from funcnet.data.mnist import mnist, read_idx
from funcnet.data.order import Permutation
from funcnet.data.pack import pack
from funcnet.data.pipeline import cache, map, mix, window, zip
from funcnet.data.samplers import (
    BatchSampler,
    BucketSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StratifiedSampler,
    WeightedRandomSampler,
)
from funcnet.data.shakespeare import shakespeare
from funcnet.data.streams import ChainDataset, IterableDataset, filter, flat_map
from funcnet.data.workers.shared import share

__all__ = [
    "ArrayDataset",
    "BatchSampler",
    "BucketSampler",
    "ChainDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterableDataset",
    "Permutation",
    "RandomSampler",
    "SampleError",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "StratifiedSampler",
    "Subset",
    "WeightedRandomSampler",
    "WorkerDiedError",
    "cache",
    "collate",
    "filter",
    "flat_map",
    "map",
    "mix",
    "mnist",
    "pack",
    "random_split",
    "read_idx",
    "shakespeare",
    "share",
    "window",
    "zip",
]
