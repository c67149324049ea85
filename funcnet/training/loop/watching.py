"""Watchers: the observers of a run, called at their turns, each with its own window of the metrics."""

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from funcnet.core.checks import check_positive
from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.loop.tally import Tally
from funcnet.training.loop.training import Measure

__all__ = ["KeptObserver", "Watchers", "Window", "check_observers"]


def check_observers(observers: Any) -> list[Observer]:
    """Check what `fit` is given as observers.

    Raises:
        TypeError: something that is no observer.
        ValueError: an ``every`` below 1, or an observer twice.

    Example:
        >>> from funcnet.training.loop.watching import check_observers
        >>> check_observers([])
        []
    """
    if isinstance(observers, Observer):
        raise TypeError(f"observers is a list: write observers=[{type(observers).__name__}(...)]")
    if isinstance(observers, str) or not isinstance(observers, Sequence):
        raise TypeError(f"observers is a list of training.Observer; got {observers!r}")
    for place, one in enumerate(observers):
        _check_one(f"observers[{place}]", one)
        if any(one is other for other in observers[:place]):
            raise ValueError(f"observers[{place}] stands in the list twice: make two")
    return list(observers)


def _check_one(name: str, one: Any) -> None:
    if isinstance(one, type):
        raise TypeError(f"{name} is a class, {one.__name__}: make one of it, {one.__name__}(...)")
    if not isinstance(one, Observer):
        hint = "; for a function that sees each epoch's record, write on_epoch=" * callable(one)
        raise TypeError(
            f"{name} must be a training.Observer: derive its class from that; got {one!r}{hint}"
        )
    if one.every is None:
        kind = type(one)
        silent = kind.on_step is not Observer.on_step or kind.measure is not Observer.measure
        said = "every" in vars(one) or any("every" in vars(base) for base in kind.__mro__[:-2])
        if silent and not said:
            raise ValueError(
                f"{name}, a {kind.__name__}, would never be called after a step, because it does not say how often: "
                "write every = 100 in its class"
            )
    elif isinstance(one.every, bool) or not hasattr(one.every, "__index__"):
        raise TypeError(f"{name}.every must be a whole number of steps, or None; got {one.every!r}")
    else:
        check_positive(f"{name}.every", one.every)


@jax.tree_util.register_dataclass
@dataclass
class Window:
    """An observer's last reading of the metrics.

    Attributes:
        tally: as it was then, on the host; None before the first.
        step: when that was.
        means: what was read.
    """

    tally: Tally | None = None
    step: int = -1
    means: dict[str, float] = field(default_factory=dict)


@jax.tree_util.register_dataclass
@dataclass
class KeptObserver:
    """What a checkpoint keeps of an observer.

    Attributes:
        kind: its class's name.
        state: from `Observer.state_dict`, as JSON.
        window: its last reading.
    """

    kind: str
    state: str
    window: Window


class Watchers:
    """The observers of one run.

    Args:
        observers: checked before.
        loop: what they are shown.
        tally: reads the metrics' tally as of now, waiting for the device.
        measured: reads what observers measured last, and at which step, by observer.

    Attributes:
        next_step: the next one after which an observer is to be called.
        pending: whether there is something to report at the end of this step.
    """

    def __init__(
        self,
        observers: list[Observer],
        loop: Loop,
        tally: Callable[[], Tally | None],
        measured: Callable[[], list[tuple[int, dict[str, float]]]],
    ) -> None:
        self.observers, self.loop = observers, loop
        self._tally, self._measured = tally, measured
        self._windows = [Window() for _ in observers]
        self._started = 0
        self.next_step: float = 0
        self.pending = False

    def start(self) -> None:
        """Call `on_start`."""
        for place in range(len(self.observers)):
            self._started = place + 1
            self._call(place, "on_start")
        self._look_ahead()

    def measures(self) -> tuple[Measure, ...]:
        """Return what observers measure, and how often."""
        return tuple(
            (one.measure, one.every)
            for one in self.observers
            if one.every is not None and type(one).measure is not Observer.measure
        )

    def after_step(self) -> None:
        """Call `on_step` of those whose turn it is; to be called once ``next_step`` is reached."""
        for place, one in enumerate(self.observers):
            if one.every is not None and self.loop.step % one.every == 0:
                self._call(place, "on_step")
        self._look_ahead()

    def tell(self, method: str) -> None:
        """Call one method of all."""
        for place in range(len(self.observers)):
            self._call(place, method)

    def report(self) -> None:
        """Call `on_report`, last of all at a step."""
        self.tell("on_report")
        self.loop.reported.clear()
        self.pending = False

    def end(self) -> None:
        """Call `on_end` of each that was started, whatever the others do; the first error is raised at the end.

        Those that write what others report come last.
        """
        first: BaseException | None = self.loop.error
        for place in sorted(range(self._started), key=self._writes):
            try:
                self._call(place, "on_end")
            except BaseException as error:
                if first is None:
                    first = error
                else:
                    first.add_note(f"and {self._name(place)}.on_end raised {error!r}")
        if first is not None and first is not self.loop.error:
            raise first

    def _call(self, place: int, method: str) -> None:
        self.loop.read = lambda: self._read(place)
        self.pending = True
        try:
            getattr(self.observers[place], method)(self.loop)
        except BaseException as error:
            error.add_note(
                f"in {self._name(place)}.{method}, in epoch {self.loop.epoch}, after step {self.loop.step}"
            )
            raise

    def _writes(self, place: int) -> bool:
        return type(self.observers[place]).on_report is not Observer.on_report

    def _name(self, place: int) -> str:
        return f"observers[{place}], {type(self.observers[place]).__name__}"

    def _look_ahead(self) -> None:
        """Find the next step at which somebody's turn comes."""
        step = self.loop.step
        turns = [step + one.every - step % one.every for one in self.observers if one.every]
        self.next_step = min(turns, default=float("inf"))

    def _read(self, place: int) -> dict[str, float]:
        """Return the means of an observer's window; read again at the same step, the same."""
        window, step = self._windows[place], self.loop.step
        if window.step != step and (tally := self._tally()) is not None:
            totals = tally.read()
            if window.tally is not None:
                totals -= window.tally.read()
            means = totals.means()
            for when, values in self._measured():
                if when > window.step:
                    means |= values
            self._windows[place] = window = Window(tally, step, means)
        return dict(window.means)

    def state(self) -> list[KeptObserver]:
        """Return what a checkpoint keeps."""
        kept: list[KeptObserver] = []
        for place, one in enumerate(self.observers):
            state = one.state_dict()
            try:
                text = json.dumps(state)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"{self._name(place)}.state_dict() must be of what JSON can hold, numbers, strings, lists and "
                    f"dicts: {error}"
                ) from error
            kept.append(KeptObserver(type(one).__name__, text, self._windows[place]))
        return kept

    def restore(self, kept: list[KeptObserver]) -> None:
        """Give back what a checkpoint kept: to the first of a class what the first of that class had, and so on."""
        left = [*kept]
        for place, one in enumerate(self.observers):
            name = type(one).__name__
            found = next((entry for entry in left if entry.kind == name), None)
            if found is None:
                if kept and one.state_dict():
                    _warn(
                        f"the checkpoint knows no {name} for observers[{place}], which begins anew"
                    )
                continue
            left.remove(found)
            self._windows[place] = found.window
            if state := json.loads(found.state):
                try:
                    one.load_state_dict(state)
                except BaseException as error:
                    error.add_note(
                        f"in {self._name(place)}.load_state_dict, of what a checkpoint kept"
                    )
                    raise
        lost = [entry.kind for entry in left if json.loads(entry.state)]
        if lost:
            _warn(f"the checkpoint keeps the state of {', '.join(lost)}, which observers= lacks")


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=5)
