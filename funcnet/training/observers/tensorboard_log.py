"""TensorBoardLog: a run as TensorBoard shows it."""

import io
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from funcnet.core.files import as_path
from funcnet.core.paths import join, leaves_with_paths, select
from funcnet.optim import hyperparams
from funcnet.training.loop.observer import Loop
from funcnet.training.observers.log import Log, plain_number, whole_on_host
from funcnet.training.observers.samples import as_pictures
from funcnet.training.observers.tensorboard_events import (
    EventFolder,
    check_tensorboard,
    end_values,
    histogram_value,
    number_value,
    picture_value,
    settings_values,
    text_value,
)

__all__ = ["TensorBoardLog"]


class TensorBoardLog(Log):
    """Write a run for TensorBoard: ``tensorboard --logdir runs`` shows each folder in it as a run.

    Numbers become curves, texts (as Markdown) and pictures appear under their names, and the run's settings in the tab
    HPARAMS: what `fit` was given, the optimizer's hyperparameters at the start, and ``settings``. An array with one
    axis becomes a histogram.

    What is written is in the file when its step is over. A run that goes on writes a further file into its folder,
    and what the files before hold of later steps is removed. A run that begins at step 0 moves the event files
    that it finds into a folder within, ``earlier-1``, ``earlier-2`` ...; files of other programs stay.

    It needs the package ``tensorboard`` (``pip install "funcnet[tensorboard]"``), but no TensorFlow.

    Args:
        folder: of this run.
        every: how many steps lie between two readings of the training metrics; None: as the history has them, at the
            end of each epoch and at evaluations.
        histograms: which parameters have their values shown as histograms at each evaluation, or after each epoch
            where there is none: a pattern of dotted paths, or several; ``"*"`` is all.
        settings: more of them, such as ``{"width": 128, "data": "digits"}``.

    Raises:
        ImportError: TensorBoard is not installed.
        OSError: raised by `fit`, the folder cannot be written.
        ValueError: raised by `fit`, a pattern matches no parameter.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 4
        >>> log = fn.training.TensorBoardLog("runs/linear", every=2, histograms="*weight")  # doctest: +SKIP
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=1, observers=[log], progress=False)  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | None = 50,
        *,
        histograms: str | Iterable[str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(every)
        check_tensorboard()
        self.folder = as_path(folder)
        self.histograms = [histograms] if isinstance(histograms, str) else [*(histograms or ())]
        self.settings = dict(settings or {})
        self._shown = -1

    def open(self, loop: Loop) -> None:
        """Open the folder; write the settings of a run that begins."""
        self._chosen(loop)  # patterns that match nothing are met here
        self.events = EventFolder(self.folder, loop.began)
        if not self.events.goes_on:
            settings = _plain({**loop.settings, **_numbers_of(loop), **self.settings})
            self.events.add(loop.began, settings_values(settings))

    def on_evaluation(self, loop: Loop) -> None:
        """Take the evaluation's numbers, and histograms."""
        super().on_evaluation(loop)
        self._take_histograms(loop)

    def on_epoch(self, loop: Loop) -> None:
        """Take the epoch's numbers, and histograms if there was no evaluation."""
        super().on_epoch(loop)
        if not any(name.startswith("eval/") for name in loop.record):
            self._take_histograms(loop)

    def _take_histograms(self, loop: Loop) -> None:
        if self.histograms and self._shown != loop.step:
            self._shown = loop.step
            found = {f"params/{path}": whole_on_host(leaf) for path, leaf in self._chosen(loop)}
            self._row |= {name: leaf.ravel() for name, leaf in found.items()}

    def _chosen(self, loop: Loop) -> list[tuple[str, Any]]:
        pairs = leaves_with_paths(loop.run.params)
        wanted = select(self.histograms, [path for path, _ in pairs])
        return [(path, leaf) for path, leaf in pairs if path in wanted]

    def write(self, loop: Loop, row: Mapping[str, Any]) -> None:
        """Write a step."""
        values = [value for name, item in row.items() for value in _values(name, item)]
        self.events.add(loop.step, values)

    def close(self, loop: Loop) -> None:
        """Say how the run ended, and close the file."""
        try:
            self.events.add(loop.step, end_values(loop.error is not None))
        finally:
            self.events.close()


def _values(name: str, item: Any) -> list[Any]:
    number = plain_number(item)
    if number is not None:
        return [number_value(name, number)]
    if isinstance(item, str):
        return [text_value(name, item)]
    array = np.asarray(item)
    if array.ndim == 1:
        return [histogram_value(name, array)]
    pictures = as_pictures(array)
    names = [name] if len(pictures) == 1 else [f"{name}/{place}" for place in range(len(pictures))]
    return [_picture(*pair) for pair in zip(names, pictures, strict=True)]


def _picture(name: str, pixels: np.ndarray) -> Any:
    from PIL import Image  # TensorBoard itself needs it

    height, width, channels = pixels.shape
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "png")
    return picture_value(name, file.getvalue(), height, width, channels)


def _numbers_of(loop: Loop) -> dict[str, Any]:
    found = jax.device_get(hyperparams(loop.run.opt_state))
    flat: dict[str, Any] = {}
    for name, value in found.items():
        parts = value if isinstance(value, tuple) else (value,)
        many = len(parts) > 1
        flat |= {join(name, str(i)) if many else name: part for i, part in enumerate(parts)}
    return {name: float(f"{float(value):.6g}") for name, value in flat.items()}


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    kinds = bool | int | float | str
    return {
        name: value if isinstance(value, kinds) else str(value)
        for name, value in settings.items()
        if value is not None
    }
