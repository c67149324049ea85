"""The formula of each cell, together with its derivative written by hand.

A step maps the input's share of the gates, the hidden state's share, and the state, to the next state. Beside
it stand its slopes: the few arrays that small changes of those three are multiplied with to give the change of
the next state. They are computed where the gates are at hand, and are all that a gradient needs of a step.

A change of the shares comes in parts: those of both that only ever act as their sum are one array, the drive.
A GRU's reset gate acts on one share of its candidate alone, so there the hidden state's has a part of its own.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array

__all__ = ["FORMULAS", "Formula", "RecurrentState", "Slopes"]

RecurrentState = tuple[Array, ...]
"""The hidden state of a layer and direction, and an LSTM's cell after it."""

Slopes = tuple[Array, ...]
"""What the change of one step is made with."""

Later = Callable[[], Slopes]


class Formula(NamedTuple):
    """What a cell computes in one step.

    Attributes:
        gates: how many stacked gates the weights have.
        step: of the input's and the hidden state's share ``(N, G·H)`` and the state; gives the next state, before
            a projection, and a function that computes the slopes, for those who need them.
        change: of the slopes, the drive, the part of the hidden state's share that acts apart, if there is one,
            and the change of the state; gives the change of the next state. It is linear in all but the slopes.
        slopes: of the hidden states after all steps, where these tell the slopes: one operation after the loop.
        apart: whether the hidden state's share of the last gate acts apart from the input's.
    """

    gates: int
    step: Callable[[Array, Array, RecurrentState], tuple[RecurrentState, Later]]
    change: Callable[[Slopes, Array, Array | None, RecurrentState], RecurrentState]
    slopes: Callable[[Array], Slopes] | None = None
    apart: bool = False


def _tanh_step(
    from_input: Array, from_hidden: Array, state: RecurrentState
) -> tuple[RecurrentState, Later]:
    hidden = jnp.tanh(from_input + from_hidden)
    return (hidden,), tuple


def _tanh_change(
    slopes: Slopes, drive: Array, apart: Array | None, state: RecurrentState
) -> RecurrentState:
    return (drive * slopes[0],)


def _tanh_slopes(hidden: Array) -> Slopes:
    return ((1 - hidden) * (1 + hidden),)


def _relu_step(
    from_input: Array, from_hidden: Array, state: RecurrentState
) -> tuple[RecurrentState, Later]:
    return (jax.nn.relu(from_input + from_hidden),), tuple


def _relu_change(
    slopes: Slopes, drive: Array, apart: Array | None, state: RecurrentState
) -> RecurrentState:
    return (jnp.where(slopes[0], drive, 0),)


def _relu_slopes(hidden: Array) -> Slopes:
    return (hidden > 0,)


def _lstm_step(
    from_input: Array, from_hidden: Array, state: RecurrentState
) -> tuple[RecurrentState, Later]:
    units = state[1].shape[-1]
    # One tanh for all gates: σ(x) = ½ + ½ tanh(½ x) for i, f and o, and tanh itself for g.
    scale = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], from_input.dtype), units)
    risen = jnp.tanh((from_input + from_hidden) * scale)
    keep_in, keep, candidate, keep_out = jnp.split(risen * scale + (1 - scale), 4, axis=-1)
    cell = keep * state[1] + keep_in * candidate
    shown = jnp.tanh(cell)

    def slopes() -> Slopes:
        factors = jnp.concatenate([candidate, state[1], keep_in, shown], axis=-1)
        of_gates = (1 - risen) * (1 + risen) * (scale * scale) * factors
        return of_gates, keep, keep_out * (1 - shown) * (1 + shown)

    return (keep_out * shown, cell), slopes


def _lstm_change(
    slopes: Slopes, drive: Array, apart: Array | None, state: RecurrentState
) -> RecurrentState:
    of_gates, keep, of_cell = slopes
    into_cell, kept, candidate, shown = jnp.split(of_gates * drive, 4, axis=-1)
    cell = keep * state[1] + into_cell + kept + candidate
    return of_cell * cell + shown, cell


def _gru_step(
    from_input: Array, from_hidden: Array, state: RecurrentState
) -> tuple[RecurrentState, Later]:
    units = state[0].shape[-1]
    first = jnp.tanh(0.5 * (from_input[..., : 2 * units] + from_hidden[..., : 2 * units]))
    reset, keep = jnp.split(0.5 * first + 0.5, 2, axis=-1)
    candidate = jnp.tanh(from_input[..., 2 * units :] + reset * from_hidden[..., 2 * units :])
    away = state[0] - candidate

    def slopes() -> Slopes:
        of_candidate = (1 - keep) * (1 - candidate) * (1 + candidate)
        of_reset, of_keep = jnp.split(0.25 * (1 - first) * (1 + first), 2, axis=-1)
        of_reset = of_reset * of_candidate * from_hidden[..., 2 * units :]
        of_gates = jnp.concatenate([of_reset, of_keep * away, of_candidate], axis=-1)
        return of_gates, of_candidate * reset, keep

    return (candidate + keep * away,), slopes


def _gru_change(
    slopes: Slopes, drive: Array, apart: Array | None, state: RecurrentState
) -> RecurrentState:
    of_gates, of_apart, keep = slopes
    assert apart is not None
    reset, kept, candidate = jnp.split(of_gates * drive, 3, axis=-1)
    return (reset + kept + candidate + of_apart * apart + keep * state[0],)


FORMULAS = {
    "RNN_TANH": Formula(1, _tanh_step, _tanh_change, _tanh_slopes),
    "RNN_RELU": Formula(1, _relu_step, _relu_change, _relu_slopes),
    "LSTM": Formula(4, _lstm_step, _lstm_change),
    "GRU": Formula(3, _gru_step, _gru_change, apart=True),
}
