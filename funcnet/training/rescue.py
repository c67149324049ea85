"""What an error left of a run: the train state after the last whole step, and the history."""

import sys
from typing import Any

import jax

from funcnet.training.loop.history import History
from funcnet.training.train_state import TrainState

__all__ = ["attach_run", "lost_because", "rescued"]

_PLACE = "_funcnet_rescued"


def rescued(error: BaseException | None = None) -> tuple[TrainState, History]:
    """Return what `fit` had trained when an error ended it: the run after the last whole step, and the history.

    Args:
        error: that came out of `fit`, or one that was raised from it; None: the last one that a Python prompt or a
            notebook has shown.

    Returns:
        ``(run, history)``, as `fit` would have returned them; ``fit(objective, optimizer, run, ...)`` goes on.

    Raises:
        ValueError: the error is not one that ended a `fit`.
        RuntimeError: the step that failed had taken the run's arrays over already, as a step that updates in place
            does; a ``checkpoint=`` is what guards from that.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> good = {"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}
        >>> bad = {"x": jnp.ones((4, 5)), "y": good["y"]}
        >>> try:
        ...     fn.training.fit(objective, optim.sgd(0.5), run, [good, bad], epochs=1, progress=False)
        ... except Exception as error:
        ...     run, history = fn.training.rescued(error)
        >>> int(run.step)
        1
    """
    if error is None:
        error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
        if error is None:
            raise ValueError(
                "rescued() looks at the last error that a prompt has shown, and there is none: catch it, "
                "try: fit(...) except Exception as error: run, history = training.rescued(error)"
            )
    found = _attached(error)
    if found is None:
        raise ValueError(f"{type(error).__name__} is not an error that ended a fit: {error}")
    run, history = found
    if (why := lost_because(run)) is not None:
        raise RuntimeError(f"what was trained is lost: {why}") from error
    return run, history


def attach_run(error: BaseException, run: TrainState, history: History) -> None:
    """Keep a run with the error that ended it.

    Example:
        >>> from funcnet.training.rescue import attach_run
        >>> error = ValueError()
        >>> run = fn.training.TrainState({}, {}, {}, jnp.array(0), jax.random.key(0))
        >>> attach_run(error, run, fn.training.History())
        >>> fn.training.rescued(error)[0] is run
        True
    """
    setattr(error, _PLACE, (run, history))


def lost_because(run: TrainState, wait: bool = True) -> str | None:
    """Say why a run's arrays can no longer be read; None if they can.

    Args:
        run: as it was when a step failed.
        wait: for the devices, which may still fail in what they were told before.

    Example:
        >>> from funcnet.training.rescue import lost_because
        >>> run = fn.training.TrainState({}, {}, {}, jnp.array(0), jax.random.key(0))
        >>> lost_because(run) is None
        True
    """
    if any(leaf.is_deleted() for leaf in jax.tree.leaves(run) if isinstance(leaf, jax.Array)):
        return "the step that failed had taken the run's arrays over to update them in place"
    if wait:
        try:
            jax.block_until_ready(run)
        except Exception as error:
            return f"the device failed while it computed them ({type(error).__name__})"
    return None


def _attached(error: BaseException | None) -> Any:
    """Find a run with an error, or with what it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if hasattr(error, _PLACE):
            return getattr(error, _PLACE)
        error = error.__cause__ or error.__context__
    return None
