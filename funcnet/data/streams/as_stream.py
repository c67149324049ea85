"""Make streams of datasets and iterables, and add transforms to them."""

from typing import Any

from funcnet.data.datasets.transform import Transform
from funcnet.data.streams.base import Stream, StreamTransform
from funcnet.data.streams.indexed import IndexedStream
from funcnet.data.streams.iterable import IterableStream
from funcnet.data.streams.sequential import SequentialStream

__all__ = ["add_transform", "as_stream", "is_indexed"]


def is_indexed(dataset: Any) -> bool:
    """Say whether samples can be asked for by index.

    A stream of ours or of PyTorch's is none even if it has a length: PyTorch's inherits a
    ``__getitem__`` that only raises.

    >>> from funcnet.data.streams.as_stream import is_indexed
    >>> is_indexed("abc"), is_indexed(iter("abc"))
    (True, False)
    """
    if isinstance(dataset, Stream):
        return False
    names = {f"{base.__module__}.{base.__name__}" for base in type(dataset).__mro__}
    if "torch.utils.data.dataset.IterableDataset" in names:
        return False
    return hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")


def as_stream(dataset: Any) -> Stream:
    """Make a stream of a dataset with indices, of an iterable, or of a stream.

    >>> from funcnet.data.streams.as_stream import as_stream
    >>> list(as_stream("abc"))
    ['a', 'b', 'c']
    """
    if isinstance(dataset, Stream):
        return dataset
    if is_indexed(dataset):
        return IndexedStream(dataset)
    if hasattr(dataset, "__iter__"):
        return IterableStream(dataset)
    raise TypeError(
        "a dataset needs __len__ and __getitem__, or __iter__; got an object of type"
        f" {type(dataset).__name__}"
    )


def add_transform(dataset: Any, transform: Transform, kind: str) -> Stream:
    """Add a transform of one kind (``"map"``, ``"filter"``, ``"flat_map"``) to a dataset or stream.

    >>> from funcnet.data.streams.as_stream import Transform, add_transform
    >>> list(add_transform([1, 2], Transform(lambda x: [x] * x), "flat_map"))
    [1, 2, 2]
    """
    stream = as_stream(dataset)
    added = StreamTransform(kind, transform)
    # One stream with all transforms, not one around the other: workers then do them all.
    if isinstance(stream, IndexedStream):
        return IndexedStream(stream.dataset, [*stream.transforms, added])
    if isinstance(stream, SequentialStream):
        return SequentialStream(stream.stream, [*stream.transforms, added])
    return SequentialStream(stream, [added])
