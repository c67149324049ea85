"""Datasets, their order, loading and the embedded sample data; nothing here needs JAX.

The words, in the order in which data flows; each means the same thing in every file:

============ ==================================================== ========================
dataset      samples with a length and indices                    datasets/base.py
transform    a function of one sample, or of one batch            datasets/transform.py
stream       samples that can only be iterated, each with a state streams/base.py
order        the indices that an epoch visits                     order/permutation.py
sample rng   the random generator of one sample                   order/sample_rng.py
batch plan   what cuts an order into tasks                        order/batch_plan.py
task         what a worker does at a time: mostly, one batch      order/batch_plan.py
worker       a thread or process that does tasks                  workers/runner.py
batch memory the bytes that a batch lies in, used again later     loading/batch_memory.py
padding      copies of rows that fill a batch, and their mask     devices/padding.py
failure      what comes in place of a batch that cannot be made   loading/errors.py
position     where a loader is: what its ``state_dict`` saves     loading/epoch.py
============ ==================================================== ========================
"""

from typing import TYPE_CHECKING

from funcnet.core.torch_hints import package_attributes
from funcnet.data import augment
from funcnet.data.datasets.arrays import ArrayDataset
from funcnet.data.datasets.base import Dataset
from funcnet.data.datasets.cache import cache
from funcnet.data.datasets.concat import ConcatDataset
from funcnet.data.datasets.map import map
from funcnet.data.datasets.mix import mix
from funcnet.data.datasets.random_split import random_split
from funcnet.data.datasets.stack import StackDataset
from funcnet.data.datasets.subset import Subset
from funcnet.data.datasets.window import window
from funcnet.data.datasets.zip import zip
from funcnet.data.devices.prefetch_to_device import prefetch_to_device
from funcnet.data.loading.collate import collate
from funcnet.data.loading.errors import SampleError, WorkerDiedError
from funcnet.data.loading.loader import DataLoader
from funcnet.data.loading.padding import pad
from funcnet.data.loading.profiling import Profile
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
from funcnet.data.samples.mnist import mnist
from funcnet.data.samples.shakespeare import shakespeare
from funcnet.data.sources.array_record import ArrayRecordDataset
from funcnet.data.sources.arrow import ArrowDataset
from funcnet.data.sources.csv_dataset import CsvDataset
from funcnet.data.sources.idx import read_idx
from funcnet.data.sources.images import ImageFolder, read_image
from funcnet.data.sources.json_lines import JsonLines
from funcnet.data.sources.line_file import LineFile
from funcnet.data.sources.safetensors_shards import safetensors_shards
from funcnet.data.sources.tar_shards import TarShards
from funcnet.data.sources.tokens import TokenFile, write_tokens
from funcnet.data.streams.chain import ChainDataset
from funcnet.data.streams.filter import filter
from funcnet.data.streams.flat_map import flat_map
from funcnet.data.streams.iterable import IterableDataset
from funcnet.data.text.pack import pack
from funcnet.data.text.tokenizer import ByteTokenizer, Tokenizer
from funcnet.data.workers.share import share

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
    "pad",
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

if not TYPE_CHECKING:
    __getattr__, __dir__ = package_attributes(__name__, __all__)
