"""Samples: what a function makes of the run now and then, for the logs."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.observers.log import check_every, plain_number, whole_on_host
from funcnet.training.train_state import TrainState

__all__ = ["Samples", "as_pictures"]


class Samples(Observer):
    """Call a function of the run now and then, and have the logs write what it returns.

    A number, a text, a picture (an array ``(H, W)`` or ``(H, W, C)``, or several ``(N, H, W, C)``, with 1, 3 or 4
    channels, whole numbers from 0 to 255 or floats from 0 to 1), a figure of matplotlib (which is closed), or an
    array with one axis, of which TensorBoard makes a histogram; or a dict of these by name. `CSVLog` writes the
    numbers, `JSONLog` numbers and texts, `TensorBoardLog` everything.

    Args:
        function: ``function(run)``. It is not to keep the run's arrays: the next step gives them up.
        every: call it at multiples of so many steps; None: after each evaluation, or each epoch if there is none.
        name: under which logs have it, before the names of a dict.

    Raises:
        TypeError: raised by `fit`, the function returns something else.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 4
        >>> def look(run):
        ...     return {"norm": optim.global_norm(run.params), "note": f"after {int(run.step)} steps"}
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=1, progress=False,
        ...     observers=[fn.training.JSONLog("a.jsonl", every=None), fn.training.Samples(look, every=2)])
        >>> import json, pathlib
        >>> [json.loads(line)["samples/note"] for line in pathlib.Path("a.jsonl").read_text().splitlines()]
        ['after 2 steps', 'after 4 steps']
    """

    def __init__(
        self, function: Callable[[TrainState], Any], every: int | None = None, name: str = "samples"
    ) -> None:
        if not callable(function):
            raise TypeError(f"Samples takes a function of the run first; got {function!r}")
        self.function, self.name = function, name
        self.every = check_every("every", every)
        self._called = -1

    def on_start(self, loop: Loop) -> None:
        """Begin anew."""
        self._called = -1

    def on_step(self, loop: Loop) -> None:
        """Call it at its turn."""
        self._call(loop)

    def on_evaluation(self, loop: Loop) -> None:
        """Call it, unless it is called by steps."""
        if self.every is None:
            self._call(loop)

    def on_epoch(self, loop: Loop) -> None:
        """Call it, unless it is called by steps, or after evaluations."""
        evaluated = loop.settings.get("evaluation", False)
        if self.every is None and not evaluated:
            self._call(loop)

    def _call(self, loop: Loop) -> None:
        if self._called == loop.step:
            return
        self._called = loop.step
        found = self.function(loop.run)
        if found is None:
            return
        named = found if isinstance(found, Mapping) else {"": found}
        loop.report(
            {
                f"{self.name}/{name}" if name else self.name: _checked(whole_on_host(value), name)
                for name, value in named.items()
            }
        )


def _checked(value: Any, name: str) -> Any:
    number = plain_number(value)
    if number is not None or isinstance(value, str):
        return value if number is None else number
    if hasattr(value, "canvas"):
        return _pixels_of(value)
    array = np.asarray(value)
    if array.dtype.kind not in "biufV" or array.ndim == 0:
        raise TypeError(
            f"Samples takes numbers, texts, arrays and figures of matplotlib; the function returned a "
            f"{type(value).__name__}" + (f" under {name!r}" if name else "")
        )
    return array.copy() if array.ndim == 1 else as_pictures(array)


def _pixels_of(figure: Any) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close(figure)  # which would keep every one of them for ever
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[None, ..., :3].copy()


def as_pictures(array: Any) -> np.ndarray:
    """Return one picture or several as bytes, ``(N, H, W, C)``; floats from 0 to 1 become 0 to 255.

    Raises:
        TypeError: an array that is no picture.

    Example:
        >>> from funcnet.training.observers.samples import as_pictures
        >>> as_pictures(np.ones((2, 2))).shape, as_pictures(np.ones((2, 2)))[0, 0, 0]
        ((1, 2, 2, 1), array([255], dtype=uint8))
    """
    array = np.asarray(array)
    shaped = (
        {2: array[None, ..., None], 3: array[None]}.get(array.ndim, array) if array.ndim else array
    )
    if shaped.ndim != 4 or shaped.shape[-1] not in (1, 3, 4):
        raise TypeError(
            "a picture is an array (H, W) or (H, W, C), several are (N, H, W, C), and C is 1, 3 or 4; got shape "
            f"{array.shape}. For grey pictures (N, H, W) write pictures[..., None]"
        )
    if shaped.dtype == np.uint8:
        return shaped
    if np.issubdtype(shaped.dtype, np.bool_):
        return shaped.astype(np.uint8) * 255
    if np.issubdtype(shaped.dtype, np.integer):
        return np.clip(shaped, 0, 255).astype(np.uint8)
    shaped = np.nan_to_num(shaped.astype(np.float32), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(shaped, 0, 1) * 255).astype(np.uint8)
