"""Running: one call of fit, from its first step to its end, whatever ends it."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.training.averages import number_of_rows
from funcnet.training.errors import nothing_to_evaluate_on, nothing_to_train_on, shapes_of
from funcnet.training.loop.evaluation import Evaluation, is_first
from funcnet.training.loop.history import History
from funcnet.training.loop.interruption import STOPPED, TIME_IS_OVER, Interruption
from funcnet.training.loop.length import Length
from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.loop.on_mesh import Setup
from funcnet.training.loop.resuming import FitPosition, Keeper
from funcnet.training.loop.training import Training
from funcnet.training.loop.watching import Watchers
from funcnet.training.loss_scaling import DynamicLossScale
from funcnet.training.named_metrics import NamedMetrics
from funcnet.training.objective import Supervised
from funcnet.training.progress import Progress, known_length
from funcnet.training.rescue import attach_run, lost_because
from funcnet.training.train_state import TrainState

__all__ = ["Running"]

OnEpoch = Callable[[TrainState, dict[str, float]], None]


class Running:
    """One call of `fit` under way.

    Args:
        setup: of the objective and the optimizer.
        batches: to train on, sent ahead where there is a mesh.
        evaluation: to evaluate on.
        length: when it ends.
        metrics: that add up, for training and evaluation.
        loss_scale: of the step.
        observers: to call.
        settings: for observers to show.
        keeper: of checkpoints.
        interruption: told of every step.
        on_epoch: called after each whole epoch.
        progress: whether to draw and print.
    """

    def __init__(
        self,
        setup: Setup,
        run: TrainState,
        place: FitPosition,
        batches: Iterable[Any],
        evaluation: Iterable[Any] | None,
        length: Length,
        metrics: NamedMetrics,
        loss_scale: DynamicLossScale | None,
        observers: list[Observer],
        settings: dict[str, Any],
        keeper: Keeper | None,
        interruption: Interruption,
        on_epoch: OnEpoch | None,
        progress: bool,
    ) -> None:
        self.setup, self.batches, self.evaluation = setup, batches, evaluation
        self.length, self.keeper, self.interruption = length, keeper, interruption
        self.on_epoch, self.progress = on_epoch, progress
        self.place = place
        self.training = Training(setup, run, metrics, loss_scale)
        self.training.restore(place.tally, place.counted, place.measured)
        self.evaluating = Evaluation(setup, metrics)
        self.history = History([*place.records])
        self.started = time.monotonic() - place.seconds
        self.ended, self.printed = False, -1
        self.loop = self._make_loop(settings)
        self.watchers = Watchers(
            observers, self.loop, self.training.read, self.training.read_measured
        )
        if place.observers:
            self.watchers.restore(place.observers)

    def _make_loop(self, settings: dict[str, Any]) -> Loop:
        objective = self.setup.objective
        return Loop(
            self.training.run,
            self.training.steps,
            objective,
            self.setup.optimizer,
            objective.net if isinstance(objective, Supervised) else None,
            self.history,
            epoch=max(self.place.epoch - self._is_over(), 1),
            seconds=self.place.seconds,
            record=self.history.records[-1] if self.history.records else {},
            settings=settings,
            began=self.training.steps,
            first=is_first(),
        )

    def go(self) -> tuple[TrainState, History]:
        """Train until the run ends, and return what it reached."""
        try:
            self.watchers.start()
            self.training.measures = self.watchers.measures()
            self._epochs()
        except BaseException as error:
            self.loop.error = error
            self._keep_after(error)
            raise
        finally:
            self._end()
        return self.training.run, self.history

    def _end(self) -> None:
        try:
            self.watchers.end()
        except BaseException as error:  # of an observer, at the end of a run that had none
            self._keep_after(error)
            raise

    # ---- epochs ----------------------------------------------------------------------------------

    def _epochs(self) -> None:
        place = self.place
        self._agree_now()
        if place.batches and not place.trained and self._is_turn():
            self._report(evaluate=True)  # an interruption came before it
        while not self.ended and (place.trained or not self._reached()):
            bar = self._bar()
            self.loop.epoch = place.epoch
            if self.keeper is not None:
                self.keeper.begin_epoch(place)
            if not place.trained:
                self._train(bar)
            if place.trained and not self.interruption.requested:
                self._end_epoch(bar)
        if self.interruption.requested:
            self.loop.interrupted = self.history.interrupted = True
            if self.training.steps > self.loop.began:
                self._record()
        if self.watchers.pending:
            self.watchers.report()
        if self.interruption.stopping == STOPPED:
            self.loop.stop("another process stopped the run")  # unless this one has a reason
        self.history.reason = self.loop.reason

    def _bar(self) -> Progress:
        place, epochs = self.place, self.length.epochs
        label = f"epoch {place.epoch}" if epochs is None else f"epoch {place.epoch}/{epochs}"
        skipped = 0 if self.keeper is None else self.keeper.skipped(place)
        done, steps = place.batches - skipped, self.length.steps
        left = None if steps is None else steps - (self.training.steps - place.began)
        total = None if left is None else place.batches + left
        return Progress(self.batches, label, show=self.progress, done=done, total=total)

    def _train(self, bar: Progress) -> None:
        """Train on what is left of an epoch, or until the run ends."""
        place, keeper = self.place, self.keeper
        skipped = 0 if keeper is None else keeper.skipped(place)
        for number, batch in enumerate(self._loaded(bar)):
            if number < skipped:
                continue
            if self.watchers.pending:
                self.watchers.report()
            if keeper is not None and keeper.waiting is not None:
                keeper.settle(self.training.run, self._position())
                if self.ended:
                    return
            self._step(bar, batch)
            if keeper is not None:
                keeper.after_step(self.training.steps, self.ended)
            elif self.ended and place.batches != known_length(self.batches):
                return
            elif self.ended:
                break
        if not place.batches:
            raise ValueError(nothing_to_train_on(self.batches, place.epoch, self.training.steps))
        place.trained = True
        if keeper is not None and self.interruption.requested:
            keeper.after_step(self.training.steps, True)
            keeper.settle(self.training.run, self._position())

    def _loaded(self, bar: Progress) -> Iterator[Any]:
        try:
            yield from bar
        except Exception as error:
            error.add_note(
                f"in epoch {self.place.epoch}, when the batch after step {self.training.steps} was loaded"
            )
            raise

    def _end_epoch(self, bar: Progress) -> None:
        place = self.place
        last = self.ended or self._reached(place.epoch)
        self._report(last or self.length.evaluates_after_epoch(place.epoch))
        record = self.loop.record
        place.next_epoch()
        if self.keeper is not None:
            self.keeper.begin_epoch(place)
        self.watchers.tell("on_epoch")
        self._agree_now()
        if self.ended and not self.interruption.requested and self._lacks_evaluation():
            self._report(evaluate=True)
        self.watchers.report()
        if self.keeper is not None:
            self.keeper.whole_epoch(self.training.run, self._position())
        if self.on_epoch is not None:
            # a copy: the next step donates the original
            self.on_epoch(jax.tree.map(jnp.copy, self.training.run), record)
        self._print(bar, bar.label)

    # ---- steps -----------------------------------------------------------------------------------

    def _step(self, bar: Progress, batch: Any) -> None:
        training, loop, place = self.training, self.loop, self.place
        try:
            training.step(bar.call, batch)
        except BaseException as error:
            error.add_note(
                f"in epoch {place.epoch}, at step {training.steps}, with a batch of {shapes_of(batch)}"
            )
            raise
        place.batches += 1
        loop.run, loop.step, loop.batch = training.run, training.steps, batch
        loop.seconds = time.monotonic() - self.started
        bar.show(self._means)
        if self.watchers.observers:
            loop.samples += number_of_rows(batch)
            if loop.step >= self.watchers.next_step:
                self.watchers.after_step()
        self.interruption.agree(loop.step, self._wish())
        self._look_whether_ended()
        if not self.interruption.requested and (self._is_turn() or self.ended):
            self._report(evaluate=True)
            self._print(bar, f"{bar.label}, step {loop.step}")
            self._agree_now()

    def _wish(self) -> int:
        """Return what this process alone may want: an observer's stop, or the end of its seconds."""
        if self.loop.reason is not None:
            return STOPPED
        seconds = self.length.seconds
        return TIME_IS_OVER if seconds is not None and self.loop.seconds >= seconds else 0

    def _agree_now(self) -> None:
        self.interruption.agree_now(self._wish())
        self._look_whether_ended()

    def _look_whether_ended(self) -> None:
        steps = self.length.steps
        made = self.training.steps - self.place.began
        self.ended = self.interruption.stopping > 0 or (steps is not None and made >= steps)

    def _is_over(self) -> bool:
        """Tell whether nothing is left to do: no epoch is under way then."""
        return not self.place.batches and self.length.reached(
            self.place.epoch - 1, self.training.steps - self.place.began, self.place.seconds
        )

    def _reached(self, epochs: int | None = None) -> bool:
        """Tell whether the length is reached, with some number of whole epochs."""
        epochs = self.place.epoch - 1 if epochs is None else epochs
        return self.length.reached(epochs, self.training.steps - self.place.began, 0.0) or (
            self.length.seconds is not None and self.loop.seconds >= self.length.seconds
        )

    def _is_turn(self) -> bool:
        """Tell whether an evaluation comes after this step, and was not made yet."""
        return self.length.evaluates_after_step(self.training.steps) and self._lacks_evaluation()

    def _lacks_evaluation(self) -> bool:
        return self.evaluation is not None and self.place.evaluated != self.training.steps

    # ---- records ---------------------------------------------------------------------------------

    def _means(self) -> dict[str, float]:
        """Return the means of the training metrics since the last record."""
        now = self.training.read()
        if now is None:
            return {}
        then = self.place.recorded
        return (now.read() if then is None else now.read() - then.read()).means()

    def _report(self, evaluate: bool) -> None:
        """Make the record of this step, with an evaluation if it is wanted and not made yet."""
        record = self._record()
        if evaluate and self._lacks_evaluation():
            record |= self.history.named("eval", self._evaluate())
            self.place.evaluated = self.training.steps
            if self.keeper is not None:
                self.keeper.evaluated()
            self.watchers.tell("on_evaluation")

    def _record(self) -> dict[str, float]:
        """Return the record of this step: a new one, unless it has one."""
        place, records = self.place, self.history.records
        if not records or records[-1]["step"] != self.training.steps:
            means = self.history.named("train", self._means() | self.training.read_counted())
            now = time.monotonic() - self.started
            seconds = now - place.recorded_at
            record = {
                "epoch": place.epoch,
                "step": self.training.steps,
                "seconds": seconds,
                **means,
            }
            records.append(record)
            place.recorded, place.recorded_at = self.training.read(), now
        self.loop.record = records[-1]
        return records[-1]

    def _evaluate(self) -> dict[str, Any]:
        assert self.evaluation is not None
        seen: list[Any] = [None]

        def watched(batches: Iterable[Any]) -> Iterator[Any]:
            for seen[0] in batches:
                yield seen[0]

        try:
            results = self.evaluating.over(
                self.training.run, watched(self.evaluation), "evaluating", False
            )
        except Exception as error:
            error.add_note(
                f"in the evaluation after step {self.training.steps}, in epoch {self.place.epoch}, with a batch of "
                f"{shapes_of(seen[0])}"
            )
            raise
        if results is None:
            raise ValueError(nothing_to_evaluate_on(self.evaluation))
        return results

    def _print(self, bar: Progress, label: str) -> None:
        """Print the newest record, once, where nobody else does."""
        record = self.loop.record
        if not self.progress or self.on_epoch is not None or record["step"] == self.printed:
            return
        self.printed = record["step"]
        shown = ", ".join(f"{name} {value:.4f}" for name, value in record.items() if "/" in name)
        bar.print(f"{label}: {shown}  ({record['seconds']:.1f} s)")

    # ---- checkpoints -----------------------------------------------------------------------------

    def _position(self) -> FitPosition:
        """Bring what a checkpoint keeps up to date."""
        place = self.place
        place.seconds = time.monotonic() - self.started
        training = self.training
        place.tally, place.counted = training.tally, training.counted
        place.measured = [*training.measured]
        place.records = self.history.records
        place.observers = self.watchers.state()
        return place

    def _keep_after(self, error: BaseException) -> None:
        """Keep what was trained before an error: with the error, and in the checkpoint if there is one."""
        step = self.training.steps
        attach_run(error, self.training.run, self.history)
        if not any("in epoch" in note for note in getattr(error, "__notes__", ())):
            # such as what the device does behind the host
            error.add_note(f"noticed in epoch {self.place.epoch}, after step {step}")
        if step == self.loop.began:
            return
        impatient = isinstance(error, KeyboardInterrupt)
        if (why := lost_because(self.training.run, wait=not impatient)) is not None:
            error.add_note(f"what was trained up to step {step} is lost: {why}{self._last_kept()}")
        elif impatient or not self._save_after(error):
            error.add_note(
                f"what was trained up to step {step} is not lost: run, history = fn.training.rescued()"
            )

    def _save_after(self, error: BaseException) -> bool:
        # of several processes others may not have failed, and all have to save together
        if self.keeper is None or jax.process_count() > 1:
            return False
        folder = self.keeper.checkpointer.directory
        try:
            self.keeper.failed(self.training.run, self._position())
        except Exception as second:
            error.add_note(f"what was trained could not be saved in {folder}: {second!r}")
            return False
        error.add_note(
            f"what was trained up to step {self.training.steps} is saved in {folder}: the same call goes on from it"
        )
        return True

    def _last_kept(self) -> str:
        if self.keeper is None:
            return "; fit(..., checkpoint=folder) would have kept it"
        steps = self.keeper.checkpointer.steps()
        return f"; the last checkpoint is of step {steps[-1]}" if steps else ""
