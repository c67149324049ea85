"""Observer: what `fit` calls at its turns, and the view of the run that it hands over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from funcnet.core.aliases import Array, Params
from funcnet.module import Functional
from funcnet.training.loop.history import History
from funcnet.training.train_state import TrainState

__all__ = ["Loop", "Observer"]


@dataclass
class Loop:
    """A run under way, as observers see it.

    Attributes:
        run: the train state after the last step. The next step gives its arrays up: copy what is to be kept, with
            ``jax.tree.map(jnp.copy, loop.run)``.
        step: how many steps the run has made, ``int(run.step)`` without waiting for the device.
        epoch: the one under way, from 1; in `Observer.on_end` the one in which the run ended.
        batch: what the last step was given.
        samples: how many rows of batches this process has trained on in this call.
        seconds: spent on training so far, those of the calls that this one goes on from included.
        record: the newest entry of the history: ``epoch``, ``step``, ``seconds``, ``train/loss``, ``eval/accuracy`` ...
        history: of the run so far.
        objective: what is made small.
        optimizer: which moves the parameters.
        net: the model, or None where the objective was written by hand.
        settings: what `fit` was given: length, batches an epoch, and the like, as plain numbers and strings.
        began: the step that this call began at: more than 0 where it goes on.
        interrupted: by Ctrl-C, or because the job ends.
        error: what ended the run, in `Observer.on_end`.
        reason: why an observer stopped it.
        first: whether this process draws and writes.
        reported: what observers found at this step, for logs; see `report`.

    Example:
        >>> class Report(fn.training.Observer):
        ...     def on_end(self, loop):
        ...         print(f"{loop.step} steps, {loop.samples} samples")
        >>> net, optimizer = fn.functionalize(nn.Linear(4, 2)), optim.sgd(0.5)
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}]
        >>> run, history = fn.training.fit(
        ...     objective, optimizer, run, batches, epochs=2, observers=[Report()], progress=False)
        2 steps, 8 samples
    """

    run: TrainState
    step: int
    objective: Any
    optimizer: Any
    net: Functional | None
    history: History
    epoch: int = 1
    batch: Any = None
    samples: int = 0
    seconds: float = 0.0
    record: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    began: int = 0
    interrupted: bool = False
    error: BaseException | None = None
    reason: str | None = None
    first: bool = True
    reported: dict[str, Any] = field(default_factory=dict)
    read: Callable[[], dict[str, float]] = dict

    @property
    def metrics(self) -> dict[str, float]:
        """The means of the training metrics since this observer read them last, and what `Observer.measure` returned.

        Reading waits for the device; what no one reads costs nothing.
        """
        return self.read()

    def report(self, values: Mapping[str, Any]) -> None:
        """Add what an observer found at this step to what logs write; they come last, see `Observer.on_report`.

        Args:
            values: by the names that they shall have in a log, such as ``"lr"``: numbers, texts, or arrays that are
                pictures; see `Samples`.

        Raises:
            ValueError: a name is one of those that each row has: ``step``, ``epoch``, ``seconds``.
        """
        taken = sorted({"step", "epoch", "seconds"} & set(values))
        if taken:
            raise ValueError(
                f"each row of a log has a {', '.join(taken)} of its own: report another name"
            )
        self.reported.update(values)

    def stop(self, reason: str) -> None:
        """End the run after this step, in order: it is evaluated, kept, and returned.

        A checkpoint does not say that the run was stopped: the same call goes on, unless the observer stops it in
        `Observer.on_start`, by what its `Observer.state_dict` kept, as `EarlyStop` does.

        Args:
            reason: a sentence for the history and the log.
        """
        self.reason = self.reason or reason


class Observer:
    """Something that looks at a run; every method may be left out.

    At a step, all observers' `on_step` come first, then the evaluation and `on_evaluation`, then `on_epoch` if the step
    is the last of an epoch, then `on_report`, each in the order of the list; a checkpoint of the step holds what their
    `state_dict` says after all that. What an observer raises ends the run as any error does, and names the observer.
    Of several processes each has its observers: one that writes asks ``loop.first``, and one that reads arrays reads
    them in all processes.

    Attributes:
        every: `on_step` is called after each step whose number is a multiple of it; None: never.

    Example:
        >>> class Print(fn.training.Observer):
        ...     every = 10
        ...     def on_step(self, loop):
        ...         print(loop.step, sorted(loop.metrics))
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}]
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=20, observers=[Print()], progress=False)
        10 ['loss']
        20 ['loss']
    """

    every: int | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Meet misspelt methods where they are written, because nothing would ever call them.

        Raises:
            TypeError: a method's name is close to one of these, or begins with ``on_``.
        """
        super().__init_subclass__(**options)
        for name, value in vars(cls).items():
            if not callable(value) or name in _METHODS or name.startswith("__"):
                continue
            close = get_close_matches(name, _METHODS, n=1, cutoff=0.8)
            if name.startswith("on_") or close:
                hint = f"; did you mean {close[0]}?" if close else ""
                raise TypeError(
                    f"{cls.__name__}.{name} would never be called: an observer's methods are {', '.join(_METHODS)}"
                    f"{hint}"
                )

    def on_start(self, loop: Loop) -> None:
        """Before the first step of a call, after `load_state_dict`; ``loop.began`` is the step that it goes on from."""

    def on_step(self, loop: Loop) -> None:
        """After every `every`-th step."""

    def on_evaluation(self, loop: Loop) -> None:
        """After an evaluation; its numbers are in ``loop.record``."""

    def on_epoch(self, loop: Loop) -> None:
        """After a whole epoch, and its evaluation if there is one."""

    def on_report(self, loop: Loop) -> None:
        """Last of all at a step at which any observer was called, once: a log writes ``loop.reported``."""

    def on_end(self, loop: Loop) -> None:
        """Once, however the run ends: at its length, by `Loop.stop`, Ctrl-C, SIGTERM or an error.

        It is called if `on_start` was, after the last checkpoint; of observers that have an `on_report`, such as logs,
        after all others, so that what those report here is written, too. ``loop.error``, ``loop.interrupted`` and
        ``loop.reason`` tell how the run ended.
        """

    def measure(self, before: TrainState, grads: Params, updates: Params) -> Mapping[str, Array]:
        """Return scalars of a step, traced into it: what `Loop.metrics` then holds at the steps of `every`.

        A pure function, compiled once. At other steps it is not computed.

        Args:
            before: the train state that the step began with.
            grads: of the parameters, as the optimizer was given them.
            updates: what was added to the parameters.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the observer, as JSON: numbers, strings, lists and dicts of them."""
        return {}

    def load_state_dict(self, kept: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint kept."""


_METHODS = [name for name, value in vars(Observer).items() if callable(value) and name[0] != "_"]
