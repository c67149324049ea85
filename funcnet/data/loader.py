"""The loader: an iterable of batches whose order, position and randomness are small and exact."""

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from funcnet.core.checks import check_non_negative, check_positive
from funcnet.data.buffers import Recycler
from funcnet.data.fetch import Fetcher
from funcnet.data.order import Order, Permutation, Sequential
from funcnet.data.plan import BatchPlan

__all__ = ["DataLoader"]

Batch = TypeVar("Batch")


class DataLoader(Generic[Batch]):
    """Iterate over a dataset in batches of NumPy arrays.

    The order of the samples is a pure function of ``(seed, epoch)``. Each ``iter`` begins the next
    epoch, so successive loops see different orders; `set_epoch` chooses one. Batches are fresh,
    aligned
    arrays: keep them, change them, or hand them to JAX without a copy.

    Args:
        dataset: anything with ``__len__`` and ``__getitem__``: an `ArrayDataset`, a list of
            samples.
        batch_size: samples a batch.
        shuffle: whether each epoch has a random order of its own.
        drop_last: whether to leave out an incomplete last batch.
        seed: of the order; a non-negative integer.
        epoch: the first epoch.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> dataset = data.ArrayDataset({"x": np.arange(10.0), "y": np.arange(10)})
        >>> loader = data.DataLoader(dataset, batch_size=4, shuffle=True, seed=0)
        >>> len(loader), [batch["x"].shape for batch in loader]
        (3, [(4,), (4,), (2,)])

    Reference:
        https://docs.pytorch.org/docs/stable/data.html
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        check_positive("batch_size", batch_size)
        check_non_negative("seed", seed)
        check_non_negative("epoch", epoch)
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.epoch = epoch
        self._position = 0
        self._latest: _Epoch | None = None
        self._fetcher = Fetcher(dataset)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next ``iter`` begins.

        Args:
            epoch: a non-negative integer.
        """
        check_non_negative("epoch", epoch)
        self.epoch, self._position, self._latest = epoch, 0, None

    def state_dict(self) -> dict[str, Any]:
        """Return the position: a small dict of numbers, to be saved between any two batches.

        Returns:
            What `load_state_dict` of a loader with the same dataset and arguments takes.
        """
        if self._latest is not None:
            return self._latest.state_dict()
        return {"seed": self.seed, "epoch": self.epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next ``iter`` continue exactly where a `state_dict` was taken.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: the state was taken with another seed.
        """
        if state["seed"] != self.seed:
            raise ValueError(f"the state was taken with seed={state['seed']}; got {self.seed}")
        self.set_epoch(state["epoch"])
        self._position = state["position"]

    def _plan(self, epoch: int) -> BatchPlan:
        length = len(self.dataset)
        order: Order = Permutation(length, self.seed, epoch) if self.shuffle else Sequential(length)
        last = "drop" if self.drop_last else "keep"
        return BatchPlan(order, self.batch_size, last, (0, 1), length)

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        return self._plan(0).batches()

    def __iter__(self) -> Iterator[Batch]:
        """Begin the next epoch, or continue where `load_state_dict` says."""
        latest = _Epoch(
            self._plan(self.epoch), self._fetcher, self.seed, self.epoch, self._position
        )
        self.epoch, self._position = self.epoch + 1, 0
        self._latest = latest
        return latest


class _Epoch:
    """One pass: the batches that are left of an epoch, and the position after each."""

    def __init__(
        self, plan: BatchPlan, fetcher: Fetcher, seed: int, epoch: int, position: int
    ) -> None:
        self.seed = seed
        self.epoch = epoch
        self.position = position
        self._batches = self._run(plan, fetcher)

    def __iter__(self) -> "_Epoch":
        return self

    def __next__(self) -> Any:
        return next(self._batches)

    def _run(self, plan: BatchPlan, fetcher: Fetcher) -> Iterator[Any]:
        allocate = Recycler()
        for task in plan.tasks(self.position):
            batch = fetcher(task, allocate)
            self.position = task.stop
            yield batch
            del batch
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}
