"""How fast a run is: samples and tokens a second, the share of the machine's peak, and a trace of single steps."""

import os
import re
import time
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from funcnet.core.checks import check_count, check_positive
from funcnet.core.files import as_path
from funcnet.core.jax_internals.programs import trace
from funcnet.module.summaries.counting import count_program
from funcnet.optim import LossScaleState
from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.loop.on_mesh import cached
from funcnet.training.loss_scaling import DynamicLossScale
from funcnet.training.observers.log import check_every
from funcnet.training.steps import make_train_step

__all__ = ["Profile", "Throughput", "peak_of"]

_PEAKS = {
    "GB200": 2500e12,
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A40": 150e12,
    "A30": 165e12,
    "A10G": 70e12,
    "A10": 125e12,
    "V100": 125e12,
    "T4": 65e12,
    "RTX 4090": 165e12,
    "RTX 3090": 71e12,
    "MI300X": 1307e12,
    "TPU v6": 918e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,  # as JAX calls v5p
    "TPU v4 lite": 138e12,
    "TPU v4": 275e12,
}
"""Dense operations a second in 16 bits with sums in 32, by words of the device's name, as vendors give them."""

_SLOWER = re.compile(r"\b(MIG|Laptop|Max-Q|Mobile|4090 D)\b")
"""Words of the names of devices that are slower than the one they are called after."""


class Throughput(Observer):
    """Report how fast the run is: ``samples_per_second``, ``seconds_per_step``, and more if it is known.

    ``tokens_per_second`` if ``tokens`` says how to count them. ``peak_share``, the share of the machine's peak, where
    the peak is given or the device is a known GPU or TPU: operations of the whole training step, divided by its time
    and by the peak of all its devices. The known peaks are those of dense products in 16 bits.

    Operations are counted as `funcnet.summary` counts them, in the traced step: those of a loop as often as it turns
    (`nn.Repeat`, `nn.Scan`, microbatches), where XLA's own count has them once; what is computed again in the backward
    pass counts again. A loop that no one knows the length of counts as one turn, and a custom kernel not at all.

    Time is taken from one report to the next, after the device has finished; evaluations are left out, and so is
    what comes before the first multiple of ``every``, where the step is compiled. Of several processes each counts
    the rows of its own batches.

    Args:
        every: at multiples of how many steps.
        tokens: the key of a batch's tokens, all of whose elements count; or a function of the batch that returns how
            many it has. The batch at hand stands for those since the last report.
        peak: operations a second of one device; None: looked up.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 8
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=1, progress=False,
        ...     observers=[fn.training.Throughput(every=4, peak=1e12), fn.training.JSONLog("a.jsonl", every=None)])
        >>> import json, pathlib
        >>> sorted(json.loads(pathlib.Path("a.jsonl").read_text().splitlines()[-1]))[:3]
        ['epoch', 'peak_share', 'samples_per_second']
    """

    def __init__(
        self,
        every: int = 50,
        *,
        tokens: str | Callable[[Any], Any] | None = None,
        peak: float | None = None,
    ) -> None:
        self.every = check_every("every", every)
        if peak is not None:
            check_positive("peak", peak)
        self.tokens, self.peak = tokens, peak
        self._window: tuple[float, int, int] | None = None
        self._operations: float | None = None

    def on_start(self, loop: Loop) -> None:
        """Begin anew."""
        self._window = self._operations = None

    def on_step(self, loop: Loop) -> None:
        """Report what was since the last time."""
        window = self._window
        self._begin(loop)
        if window is None or self._window is None:
            return
        seconds = self._window[0] - window[0]
        samples, steps = loop.samples - window[1], loop.step - window[2]
        if steps <= 0 or seconds <= 0:
            return
        found = {"samples_per_second": samples / seconds, "seconds_per_step": seconds / steps}
        if self.tokens is not None:
            found["tokens_per_second"] = _tokens(self.tokens, loop.batch) * steps / seconds
        peak = peak_of(loop.run.step) if self.peak is None else self.peak
        if peak is not None:
            devices = len(loop.run.step.sharding.device_set)
            found["peak_share"] = self._counted(loop) * steps / seconds / (peak * devices)
            self._begin(loop)  # counting took time
        loop.report(found)

    def on_evaluation(self, loop: Loop) -> None:
        """Leave its time out."""
        self._go_on(loop)

    def on_epoch(self, loop: Loop) -> None:
        """Leave out what happens between epochs."""
        self._go_on(loop)

    def _go_on(self, loop: Loop) -> None:
        if self._window is not None:
            self._begin(loop)

    def _begin(self, loop: Loop) -> None:
        jax.block_until_ready(loop.run.step)
        self._window = (time.perf_counter(), loop.samples, loop.step)

    def _counted(self, loop: Loop) -> float:
        if self._operations is None:
            leaves, structure = jax.tree.flatten((loop.run, loop.batch))
            shapes = (structure, tuple(map(_shape_of, leaves)))
            pieces = (loop.objective, loop.optimizer, _scale_around(loop))
            self._operations = float(cached(_operations, *pieces, *shapes))
        return self._operations


@lru_cache(maxsize=16)  # another run of the same does not count again
def _operations(
    objective: Any, optimizer: Any, scale: DynamicLossScale | None, structure: Any, shapes: Any
) -> float:
    """Count the operations of a step, without compiling it: XLA would count the body of a loop once."""
    step = make_train_step(objective, optimizer, loss_scale=scale)
    return count_program(trace(step, *jax.tree.unflatten(structure, shapes))[0]).total


def _scale_around(loop: Loop) -> DynamicLossScale | None:
    """Find out whether `fit` was given a loss scale, which is around the optimizer then."""
    state, own = loop.run.opt_state, jax.eval_shape(loop.optimizer.init, loop.run.params)
    scaled = isinstance(state, LossScaleState) and not isinstance(own, LossScaleState)
    return DynamicLossScale() if scaled else None


def peak_of(array: jax.Array) -> float | None:
    """Return how many operations a second the device of an array can do in 16 bits; None if it is not known.

    Example:
        >>> from funcnet.training.observers.speed import peak_of
        >>> peak_of(jax.device_put(1.0, jax.devices("cpu")[0])) is None
        True
    """
    return _peak_of_kind(next(iter(array.sharding.device_set)).device_kind)


def _peak_of_kind(kind: str) -> float | None:
    if _SLOWER.search(kind):
        return None
    # whole words: an RTX A4000 is no A40, a T400 no T4
    return next((peak for name, peak in _PEAKS.items() if re.search(rf"\b{name}\b", kind)), None)


def _tokens(tokens: str | Callable[[Any], Any], batch: Any) -> float:
    batch = batch.batch if hasattr(batch, "valid") and hasattr(batch, "batch") else batch
    return float(tokens(batch)) if callable(tokens) else float(np.size(batch[tokens]))


def _shape_of(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        sharding = leaf.sharding if len(leaf.sharding.device_set) > 1 else None
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if hasattr(leaf, "dtype") else leaf


class Profile(Observer):
    """Record a trace of chosen steps, by `jax.profiler`: TensorBoard (with the plug-in ``xprof``) and Perfetto show it.

    The first of the steps is recorded from its beginning, with the device idle, and the last one until the device has
    finished. Choose steps behind the first, which compiles. A run that goes on from a later step records nothing, and
    of several processes the first one alone records.

    Args:
        folder: that ``plugins/profile/...`` is made in; that of a `TensorBoardLog` will do.
        first: the first step to record, counted from 1.
        steps: how many.

    Raises:
        RuntimeError: raised by `fit`, another trace is being recorded.

    Warns:
        RuntimeWarning: the run ended before ``first``.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 8
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=1, progress=False,
        ...     observers=[fn.training.Profile("runs/trace", first=4, steps=2)])
        >>> import pathlib
        >>> len([*pathlib.Path("runs/trace").rglob("*.xplane.pb")])
        1
    """

    def __init__(self, folder: str | os.PathLike[str], first: int = 10, steps: int = 3) -> None:
        for name, number in (("first", first), ("steps", steps)):
            check_count(name, number)
            check_positive(name, number)
        self.folder, self.first, self.last = as_path(folder), int(first), int(first + steps - 1)
        self.every = None
        self._recording = False

    def on_start(self, loop: Loop) -> None:
        """Begin if the next step is the first one; else be called before it, and not after the last."""
        self.every = self.first - 1 if loop.began < self.first - 1 else None
        if loop.began == self.first - 1:
            self._begin(loop)

    def on_step(self, loop: Loop) -> None:
        """Begin or end."""
        if self._recording and loop.step >= self.last:
            self._finish(loop)
        elif loop.step == self.first - 1:
            self._begin(loop)

    def on_end(self, loop: Loop) -> None:
        """End a trace that the end of the run cuts short."""
        if self._recording:
            self._finish(loop)
        if loop.step < self.first and loop.error is None and not loop.interrupted:
            warnings.warn(
                f"Profile recorded nothing: the run ended at step {loop.step}, before step {self.first}",
                RuntimeWarning,
                stacklevel=2,
            )

    def _begin(self, loop: Loop) -> None:
        self.every = 1 if loop.first else None
        if not loop.first:
            return
        jax.block_until_ready(loop.run)
        try:
            jax.profiler.start_trace(str(self.folder))
        except RuntimeError as error:
            raise RuntimeError(
                f"Profile cannot record steps {self.first} to {self.last}, because another trace is being recorded: "
                "end it first (jax.profiler.stop_trace()), or choose steps of which none is in both"
            ) from error
        self._recording = True

    def _finish(self, loop: Loop) -> None:
        self._recording, self.every = False, None
        try:
            if loop.error is None:
                jax.block_until_ready(loop.run)
        finally:
            jax.profiler.stop_trace()
