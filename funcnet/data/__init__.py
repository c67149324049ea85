"""Datasets, order, loading and the embedded sample data; nothing here needs JAX.

As the data flows: datasets (`arrays`, `datasets`, `sources/`, `mnist`) and lazy functions of them
(`pipeline`, `mixture`, `streams`, `flows`, `pack`) are visited in an `order` that `samplers` may choose; a
`plan` cuts it into tasks; `workers/` `fetch` each, into memory of `buffers`; the `loader` hands the
`batches` out and knows the position; `device` sends them on.
"""

from funcnet.data import augment
from funcnet.data.datasets.arrays import ArrayDataset
from funcnet.data.datasets.base import ConcatDataset, Dataset, StackDataset, Subset, random_split
from funcnet.data.datasets.lazy import cache, map, window, zip
from funcnet.data.datasets.mixture import mix
from funcnet.data.loading.collate import collate
from funcnet.data.loading.device import prefetch_to_device
from funcnet.data.loading.errors import SampleError, WorkerDiedError
from funcnet.data.loading.loader import DataLoader
from funcnet.data.loading.timing import Profile
from funcnet.data.order.batch_samplers import BatchSampler, BucketSampler
from funcnet.data.order.permutation import Permutation
from funcnet.data.order.samplers import (
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StratifiedSampler,
    WeightedRandomSampler,
)
from funcnet.data.samples.mnist import mnist, read_idx
from funcnet.data.samples.shakespeare import shakespeare
from funcnet.data.sources.images import ImageFolder, read_image
from funcnet.data.sources.records import CsvDataset, JsonLines, LineFile
from funcnet.data.sources.shards import TarShards, safetensors_shards
from funcnet.data.sources.tables import ArrayRecordDataset, ArrowDataset
from funcnet.data.sources.tokens import TokenFile, write_tokens
from funcnet.data.streams.flows import ChainDataset, filter, flat_map
from funcnet.data.streams.iterable import IterableDataset
from funcnet.data.text.pack import pack
from funcnet.data.text.tokenizer import ByteTokenizer, Tokenizer
from funcnet.data.workers.shared import share

__all__ = [
    "ArrayDataset",
    "ArrayRecordDataset",
    "ArrowDataset",
    "BatchSampler",
    "BucketSampler",
    "ByteTokenizer",
    "ChainDataset",
    "ConcatDataset",
    "CsvDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "ImageFolder",
    "IterableDataset",
    "JsonLines",
    "LineFile",
    "Permutation",
    "Profile",
    "RandomSampler",
    "SampleError",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "StratifiedSampler",
    "Subset",
    "TarShards",
    "TokenFile",
    "Tokenizer",
    "WeightedRandomSampler",
    "WorkerDiedError",
    "augment",
    "cache",
    "collate",
    "filter",
    "flat_map",
    "map",
    "mix",
    "mnist",
    "pack",
    "prefetch_to_device",
    "random_split",
    "read_idx",
    "read_image",
    "safetensors_shards",
    "shakespeare",
    "share",
    "window",
    "write_tokens",
    "zip",
]
