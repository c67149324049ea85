"""Recurrent cells, and one scan that runs any of them over layers and directions.

Weights have PyTorch's layouts: ``weight_ih (G·H, I)``, ``weight_hh (G·H, H)``, with the ``G`` gates
stacked in PyTorch's order (LSTM: i, f, g, o; GRU: r, z, n).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_choice
from funcnet.functional.dropout import dropout
from funcnet.functional.linear import linear

__all__ = ["RecurrentWeights", "gru_cell", "lstm_cell", "recurrent", "rnn_cell"]

State = tuple[Array, ...]


class RecurrentWeights(NamedTuple):
    """The weights of one layer and direction.

    Attributes:
        ih: ``(G·H, I)``, applied to the input.
        hh: ``(G·H, P)``, applied to the hidden state, of length ``P = H`` without a projection.
        bias_ih: ``(G·H,)`` or ``None``.
        bias_hh: ``(G·H,)`` or ``None``.
        hr: ``(P, H)``, the projection of an LSTM's hidden state, or ``None``.
    """

    ih: Array
    hh: Array
    bias_ih: Array | None = None
    bias_hh: Array | None = None
    hr: Array | None = None


# ---- one step ------------------------------------------------------------------------------------


def _sigmoid(x: Array) -> Array:
    """Return the logistic function by way of tanh: one transcendental, and no division."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def _tanh_update(from_input: Array, from_hidden: Array, state: State) -> State:
    return (jnp.tanh(from_input + from_hidden),)


def _relu_update(from_input: Array, from_hidden: Array, state: State) -> State:
    return (jax.nn.relu(from_input + from_hidden),)


def _lstm_update(from_input: Array, from_hidden: Array, state: State) -> State:
    units = state[1].shape[-1]
    # One tanh for all gates: σ(x) = ½ + ½ tanh(½ x) for i, f and o, and tanh itself for g.
    slope = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], from_input.dtype), units)
    gates = jnp.tanh((from_input + from_hidden) * slope) * slope + (1 - slope)
    keep_in, keep, candidate, keep_out = jnp.split(gates, 4, axis=-1)
    cell = keep * state[1] + keep_in * candidate
    return keep_out * jnp.tanh(cell), cell


def _gru_update(from_input: Array, from_hidden: Array, state: State) -> State:
    units = state[0].shape[-1]
    gates = _sigmoid(from_input[..., : 2 * units] + from_hidden[..., : 2 * units])
    reset, keep = jnp.split(gates, 2, axis=-1)
    candidate = jnp.tanh(from_input[..., 2 * units :] + reset * from_hidden[..., 2 * units :])
    return (candidate + keep * (state[0] - candidate),)


UPDATES: dict[str, Callable[[Array, Array, State], State]] = {
    "RNN_TANH": _tanh_update,
    "RNN_RELU": _relu_update,
    "LSTM": _lstm_update,
    "GRU": _gru_update,
}

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def _advance(mode: str, from_input: Array, state: State, weights: RecurrentWeights) -> State:
    """Take one step from the input's share of the gates."""
    # The gates are cheap to compute again: not saving them for the gradient saves more time.
    update = jax.checkpoint(UPDATES[mode], prevent_cse=False)
    hidden, *rest = update(from_input, linear(state[0], weights.hh, weights.bias_hh), state)
    if weights.hr is not None:
        hidden = linear(hidden, weights.hr)
    return hidden, *rest


def _check_step(input: Array, state: State, weights: RecurrentWeights) -> None:
    if input.ndim not in (1, 2) or any(part.ndim != input.ndim for part in state):
        raise ValueError(
            "a cell takes an input (N, I) with states (N, H), or (I,) with (H,); got "
            f"{input.shape} and {[part.shape for part in state]}"
        )
    units = weights.hh.shape[-1]
    if any(part.shape != (*input.shape[:-1], units) for part in state):
        raise ValueError(
            f"the states of {units} units for an input of shape {input.shape} must have shape "
            f"{(*input.shape[:-1], units)}; got {[part.shape for part in state]}"
        )


def rnn_cell(
    input: Array, hx: Array, weights: RecurrentWeights, nonlinearity: str = "tanh"
) -> Array:
    r"""One step of an Elman network: ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``.

    Args:
        input: ``(N, I)`` or ``(I,)``.
        hx: hidden state ``(N, H)`` or ``(H,)``.
        weights: with one gate.
        nonlinearity: ``"tanh"`` or ``"relu"``.

    Returns:
        The next hidden state.

    Raises:
        ValueError: shapes that do not fit, or another nonlinearity.

    >>> weights = F.RecurrentWeights(jnp.ones((2, 3)), jnp.zeros((2, 2)))
    >>> F.rnn_cell(jnp.ones(3), jnp.zeros(2), weights, "relu").tolist()
    [3.0, 3.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.RNNCell.html
    """
    check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    _check_step(input, (hx,), weights)
    mode = f"RNN_{nonlinearity.upper()}"
    return _advance(mode, linear(input, weights.ih, weights.bias_ih), (hx,), weights)[0]


def lstm_cell(
    input: Array, hx: tuple[Array, Array], weights: RecurrentWeights
) -> tuple[Array, Array]:
    r"""One step of a long short-term memory.

    ``i, f, o = σ(·)``, ``g = tanh(·)`` of ``W_ih x + b_ih + W_hh h + b_hh``;
    ``c' = f c + i g``; ``h' = o tanh(c')``.

    Args:
        input: ``(N, I)`` or ``(I,)``.
        hx: hidden and cell state, ``(N, H)`` or ``(H,)`` each.
        weights: with four gates i, f, g, o.

    Returns:
        The next hidden and cell state.

    Raises:
        ValueError: shapes that do not fit.

    >>> weights = F.RecurrentWeights(jnp.zeros((8, 3)), jnp.zeros((8, 2)))
    >>> hidden, cell = F.lstm_cell(jnp.ones(3), (jnp.zeros(2), jnp.ones(2)), weights)
    >>> cell.tolist()
    [0.5, 0.5]

    Reference: Hochreiter, Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735
    """
    _check_step(input, hx, weights)
    state = _advance("LSTM", linear(input, weights.ih, weights.bias_ih), hx, weights)
    return state[0], state[1]


def gru_cell(input: Array, hx: Array, weights: RecurrentWeights) -> Array:
    r"""One step of a gated recurrent unit.

    ``r, z = σ(·)`` of ``W_ih x + b_ih + W_hh h + b_hh``; ``n = tanh(x_n + r h_n)`` of the two shares
    apart; ``h' = (1 - z) n + z h``.

    Args:
        input: ``(N, I)`` or ``(I,)``.
        hx: hidden state ``(N, H)`` or ``(H,)``.
        weights: with three gates r, z, n.

    Returns:
        The next hidden state.

    Raises:
        ValueError: shapes that do not fit.

    >>> weights = F.RecurrentWeights(jnp.zeros((6, 3)), jnp.zeros((6, 2)))
    >>> F.gru_cell(jnp.ones(3), jnp.ones(2), weights).tolist()
    [0.5, 0.5]

    Reference: Cho et al. 2014, https://arxiv.org/abs/1406.1078
    """
    _check_step(input, (hx,), weights)
    return _advance("GRU", linear(input, weights.ih, weights.bias_ih), (hx,), weights)[0]


# ---- sequences -----------------------------------------------------------------------------------


def _scan(
    mode: str,
    input: Array,
    state: State,
    weights: RecurrentWeights,
    counts: Array | None,
    reverse: bool,
) -> tuple[Array, State]:
    """Run one layer in one direction; the input is ``(T, N, I)``, ``counts`` a mask ``(T, N, 1)``.

    A step that does not count leaves the state as it is, so that the backward direction starts at
    each sequence's own end.
    """
    projected = linear(input, weights.ih, weights.bias_ih)

    def step(state: State, at: tuple[Array, Array | None]) -> tuple[State, Array]:
        from_input, count = at
        new = _advance(mode, from_input, state, weights)
        if count is None:
            return new, new[0]
        new = tuple(jnp.where(count, part, old) for part, old in zip(new, state, strict=True))
        return new, jnp.where(count, new[0], jnp.zeros((), new[0].dtype))

    final, output = jax.lax.scan(step, state, (projected, counts), reverse=reverse)
    return output, final


def recurrent(
    mode: str,
    input: Array,
    hx: State,
    weights: Sequence[RecurrentWeights],
    *,
    bidirectional: bool = False,
    dropout_p: float = 0.0,
    training: bool = False,
    lengths: Array | None = None,
    key: Key | None = None,
) -> tuple[Array, State]:
    """Run a stack of recurrent layers over sequences.

    Args:
        mode: ``"RNN_TANH"``, ``"RNN_RELU"``, ``"LSTM"`` or ``"GRU"``.
        input: ``(T, N, I)``.
        hx: initial states ``(layers · directions, N, H)``: the hidden one, and an LSTM's cell.
        weights: one for each layer and direction, in the order of ``hx``.
        bidirectional: whether each layer also runs backwards; both outputs are concatenated.
        dropout_p: of the output of each layer but the last.
        training: whether to apply it.
        lengths: ``(N,)``, the number of steps of each sequence that count; the rest of the output
            is zero. Equal to PyTorch's packed sequences.
        key: for the dropout.

    Returns:
        The output ``(T, N, directions · H)`` and the final states, like ``hx``.

    >>> weights = F.RecurrentWeights(jnp.ones((2, 3)), jnp.zeros((2, 2)))
    >>> output, (hidden,) = F.recurrent(
    ...     "RNN_RELU", jnp.ones((4, 1, 3)), (jnp.zeros((1, 1, 2)),), [weights], lengths=jnp.array([2])
    ... )
    >>> output[:, 0, 0].tolist(), hidden.tolist()
    ([3.0, 3.0, 0.0, 0.0], [[[3.0, 3.0]]])

    Reference: https://docs.pytorch.org/docs/stable/nn.html#recurrent-layers
    """
    check_choice("mode", mode, UPDATES)
    directions = 2 if bidirectional else 1
    counts = None
    if lengths is not None:
        steps = jnp.arange(input.shape[0], dtype=lengths.dtype)
        counts = (steps[:, None] < lengths)[..., None]
    finals: list[State] = []
    layers = len(weights) // directions
    for layer in range(layers):
        outputs: list[Array] = []
        for place in range(layer * directions, (layer + 1) * directions):
            state = tuple(part[place] for part in hx)
            output, final = _scan(
                mode, input, state, weights[place], counts, place % directions == 1
            )
            outputs.append(output)
            finals.append(final)
        input = jnp.concatenate(outputs, axis=-1) if bidirectional else outputs[0]
        if layer < layers - 1:
            layer_key = None if key is None else jax.random.fold_in(key, layer)
            input = dropout(input, dropout_p, training, key=layer_key)
    return input, tuple(jnp.stack(parts) for parts in zip(*finals, strict=True))
