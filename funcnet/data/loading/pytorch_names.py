"""Arguments that a PyTorch user gives to loaders and samplers, and what to write here instead."""

import functools
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

__all__ = ["LOADER", "RANDOM", "teaches"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_DEVICE = (
    "batches are NumPy arrays on the host: write data.prefetch_to_device(loader, sharding=device)"
)
_RANDOM = "the order is a function of (seed, epoch): write seed= of DataLoader"

LOADER: Mapping[str, str] = {
    "collate_fn": "write collate=, a function of a list of samples",
    "pin_memory": _DEVICE,
    "pin_memory_device": _DEVICE,
    "device": _DEVICE,
    "generator": "the order is a function of (seed, epoch): write seed=",
    "prefetch_factor": "write prefetch=, batches ahead for each worker",
    "multiprocessing_context": (
        'processes are never forked: write workers="process" or workers="thread"'
    ),
    "worker_init_fn": (
        "workers need no seeding: a transform with a parameter named rng is given the generator of"
        " its sample"
    ),
    "in_order": "batches always come in order",
    "transform": "write transforms=[f], a list of functions of a sample",
    "num_epochs": "write a loop: each iter(loader) is one epoch",
}
"""Arguments of PyTorch's loader."""

RANDOM: Mapping[str, str] = {"generator": _RANDOM}
"""Arguments of PyTorch's samplers."""


def teaches(
    owner: str, words: Mapping[str, str], positional: int | None = None
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function say, for arguments of PyTorch's that it lacks, what to write instead.

    Those that it takes by position are ``positional`` at most: the places of the others are not PyTorch's.

    >>> from funcnet.data.loading.pytorch_names import teaches
    >>> f = teaches("f", {"y": "write x="})(lambda x: x)
    >>> f(y=1)
    Traceback (most recent call last):
        ...
    TypeError: f takes no y=: write x=
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(function)
        def checked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if positional is not None and len(args) > positional:
                raise TypeError(
                    f"{owner} takes its other arguments by name, drop_last=, timeout=, ...: their places are "
                    f"not those of PyTorch's; got {len(args) - positional} more by position"
                )
            for name in kwargs:
                if name in words:
                    raise TypeError(f"{owner} takes no {name}=: {words[name]}")
            return function(*args, **kwargs)

        return checked

    return decorate
