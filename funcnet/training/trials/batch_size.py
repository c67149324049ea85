"""find_batch_size: the largest batch whose training step fits into the device's memory."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.checks import check_choice, check_positive
from funcnet.training.loss_scaling import DynamicLossScale
from funcnet.training.objective import Objective, Supervised
from funcnet.training.steps import make_train_step
from funcnet.training.train_state import TrainState
from funcnet.training.trials.losses import copied

__all__ = ["BatchSizeSearch", "find_batch_size"]


@dataclass(frozen=True)
class BatchSizeSearch:
    """What came of `find_batch_size`; printed, it is a table.

    Attributes:
        size: the largest that fits; 0 if none does.
        limit: the bytes that a step may use, or None where steps were run until memory ended.
        needed: the bytes of a step by size; None where it is not known.
        fitting: by size, whether it fits.

    Example:
        >>> net, optimizer = fn.functionalize(nn.Linear(1024, 2)), optim.sgd(0.1)
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batch = {"x": np.ones((4, 1024), np.float32), "y": np.zeros(4, np.int32)}
        >>> found = fn.training.find_batch_size(objective, optimizer, run, batch, limit=2**20)
        >>> found.fitting[found.size], found.limit
        (True, 1048576)
    """

    size: int
    limit: int | None
    needed: dict[int, int | None]
    fitting: dict[int, bool]

    def __str__(self) -> str:
        """Lay out what was tried."""
        lines = [f"batch size {self.size}" if self.size else "no batch size fits"]
        if self.limit is not None:
            lines[0] += f": a step may use {_mib(self.limit)}"
        for size in sorted(self.fitting):
            needed = self.needed.get(size)
            told = "" if needed is None else f" needs {_mib(needed)} and"
            lines.append(f"  {size:>8,}{told} {'fits' if self.fitting[size] else 'does not fit'}")
        return "\n".join(lines)

    __repr__ = __str__


def find_batch_size(
    objective: Objective,
    optimizer: Any,
    run: TrainState,
    batch: Any,
    *,
    limit: int | None = None,
    largest: int = 65_536,
    multiple_of: int = 1,
    by: str | None = None,
    loss_scale: DynamicLossScale | None = None,
) -> BatchSizeSearch:
    """Find the largest batch whose training step fits into the device's memory.

    From the size given on they are doubled until one does not fit (several times at once, where two sizes have told
    how memory grows), then halved in between until the gap is an eighth, or ``multiple_of``. Each is one compilation.

    ``by="analysis"`` runs nothing: the compiler tells what a step needs (arguments, results and temporary arrays, less
    what is updated in place), to be met with nine tenths of what the device has left; the rest is for batches that are
    on their way and for evaluation. ``by="running"`` makes a step with repeated rows, and catches that memory ends.
    The run given stays as it was.

    Args:
        objective: see `Objective`.
        optimizer: a pair ``(init, update)`` from `funcnet.optim` or Optax.
        run: from `TrainState.create`.
        batch: one batch, of any size: its arrays' first axes are the rows.
        limit: the bytes that a step may use; a CPU, which tells no limit, needs it.
        largest: where to end, such as the number of samples.
        multiple_of: which sizes to try, such as the number of devices; of an objective in microbatches also their
            number.
        by: ``"analysis"`` or ``"running"``; None: the first, where the device tells its memory or there is a limit.
        loss_scale: as of `make_train_step`.

    Returns:
        A `BatchSizeSearch`: ``result.size``; print it.

    Raises:
        TypeError: ``run`` is no `TrainState`.
        ValueError: there is no limit for an analysis; or the batch's arrays have different numbers of rows.

    Example:
        >>> net, optimizer = fn.functionalize(nn.Linear(1024, 2)), optim.sgd(0.1)
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batch = {"x": np.ones((4, 1024), np.float32), "y": np.zeros(4, np.int32)}
        >>> found = fn.training.find_batch_size(objective, optimizer, run, batch, limit=2**20)
        >>> 128 <= found.size <= 256
        True
    """
    check_choice("by", by, (None, "analysis", "running"))
    check_positive("largest", largest)
    check_positive("multiple_of", multiple_of)
    rows = _rows_in(batch)
    if isinstance(objective, Supervised):
        multiple_of = math.lcm(multiple_of, objective.microbatches)
    copied(run)  # whether it is one
    limit = _left_on_the_device(run) if limit is None else limit
    if by == "analysis" and limit is None:
        raise ValueError(
            "this device does not tell its memory: pass limit= the bytes that a step may use, such as limit=4 * 2**30"
        )
    if by is None and limit is None and jax.default_backend() == "cpu":
        raise ValueError(
            "a CPU does not tell its limit, and to run until memory ends would end the process: pass limit= the bytes "
            "that a step may use, such as limit=4 * 2**30"
        )
    step: Any = jax.jit(
        make_train_step(objective, optimizer, loss_scale=loss_scale), donate_argnums=0
    )
    search = BatchSizeSearch(0, limit, {}, {})
    running = by == "running" or limit is None

    def fits(size: int) -> bool:
        try:
            compiled = step.lower(run, _of_size(batch, size, abstract=True)).compile()
            search.needed[size] = needed = _needed(compiled)
            good = limit is None or needed is None or needed <= limit
            if good and (running or needed is None):
                jax.block_until_ready(step(copied(run), _of_size(batch, size, abstract=False)))
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            good = False
        search.fitting[size] = good
        return good

    def expected() -> int | None:
        known = {size: needed for size, needed in search.needed.items() if needed is not None}
        return None if running or limit is None else _crossing(known, limit)

    start = max(rows // multiple_of, 1) * multiple_of
    size = _doubled_then_halved(
        fits, expected, start, multiple_of, largest // multiple_of * multiple_of
    )
    return BatchSizeSearch(size, limit, search.needed, search.fitting)


def _doubled_then_halved(
    fits: Callable[[int], bool], expected: Callable[[], int | None], start: int, unit: int, end: int
) -> int:
    """Return the largest size, in units, that fits, to an eighth; ``expected`` guesses it, which saves trials."""
    good, bad, size = 0, end + unit, min(start, end)
    while size and good < size < bad:
        if fits(size):
            good = size
            size = good * 2
            while 2 * size <= min(expected() or 0, end):
                size *= 2
            size = min(size, end)
        else:
            bad = size
            size = 0 if good else size // 2 // unit * unit
    while bad - good > max(unit, good // 8):
        guess = (expected() or 0) // unit * unit
        middle = guess if good < guess < bad else (good + bad) // 2 // unit * unit
        if not good < middle < bad:
            break
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _crossing(needed: dict[int, int], limit: int) -> int | None:
    """Guess at which size a limit is reached: memory grows in proportion to what is beyond the parameters."""
    if len(needed) < 2:
        return None
    small, large = sorted(needed)[-2:]
    slope = (needed[large] - needed[small]) / (large - small)
    return int(large + (limit - needed[large]) / slope) if slope > 0 else None


def _rows_in(batch: Any) -> int:
    lengths = {len(leaf) for leaf in jax.tree.leaves(batch) if getattr(leaf, "ndim", 0)}
    if len(lengths) != 1:
        raise ValueError(
            f"a batch's arrays have the rows as their first axes; got lengths {sorted(lengths)}, so it is not known "
            "how a larger batch looks"
        )
    return lengths.pop()


def _of_size(batch: Any, size: int, *, abstract: bool) -> Any:
    def resized(leaf: Any) -> Any:
        if not getattr(leaf, "ndim", 0):
            return leaf
        if abstract:
            placed = getattr(leaf, "sharding", None)
            spread = placed if placed is not None and len(placed.device_set) > 1 else None
            dtype = jnp.asarray(leaf[:1]).dtype  # of 64 bits JAX has 32, unless told otherwise
            return jax.ShapeDtypeStruct((size, *leaf.shape[1:]), dtype, sharding=spread)
        return jnp.asarray(leaf[np.arange(size) % len(leaf)])

    return jax.tree.map(resized, batch)


def _needed(compiled: Any) -> int | None:
    memory = compiled.memory_analysis()
    if memory is None:
        return None
    parts = ("argument", "output", "temp", "generated_code")
    total = sum(int(getattr(memory, f"{part}_size_in_bytes", 0) or 0) for part in parts)
    return total - int(getattr(memory, "alias_size_in_bytes", 0) or 0)


def _left_on_the_device(run: TrainState) -> int | None:
    """Return nine tenths of the memory that no other arrays than the run's use; None if the device does not tell."""
    device = next(iter(run.step.devices()))
    told = device.memory_stats() or {}
    if "bytes_limit" not in told:
        return None
    own = sum(
        shard.data.nbytes
        for leaf in jax.tree.leaves(run)
        if isinstance(leaf, jax.Array) and not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        for shard in leaf.addressable_shards
        if shard.device == device
    )
    return int(0.9 * (told["bytes_limit"] - max(told.get("bytes_in_use", 0) - own, 0)))


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error)
    return "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower()


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
