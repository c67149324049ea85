"""One step of a recurrent network.

Weights have PyTorch's layouts: ``weight_ih (G·H, I)``, ``weight_hh (G·H, H)``, with the ``G`` gates
stacked in PyTorch's order (LSTM: i, f, g, o; GRU: r, z, n).

Input and state decide the dtype of the next state. Only the matrix products are taken in 16 bits; gates,
biases and the state between steps have 32 at least, so that small steps of the state are not lost.
"""

from typing import Any, NamedTuple

import jax

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import as_floats, at_least_float32, widest
from funcnet.functional.linear import linear
from funcnet.functional.recurrent.formulas import FORMULAS, RecurrentState

__all__ = ["RecurrentWeights", "gru_cell", "lstm_cell", "rnn_cell"]


class RecurrentWeights(NamedTuple):
    """The weights of one layer and direction.

    Attributes:
        ih: ``(G·H, I)``, applied to the input.
        hh: ``(G·H, P)``, applied to the hidden state, of length ``P = H`` without a projection.
        bias_ih: ``(G·H,)`` or ``None``.
        bias_hh: ``(G·H,)`` or ``None``.
        hr: ``(P, H)``, the projection of an LSTM's hidden state, or ``None``.

    Example:
        >>> weights = F.RecurrentWeights(jnp.ones((3, 2)), jnp.ones((3, 3)), None, None, None)
        >>> weights.ih.shape, weights.hr
        ((3, 2), None)
    """

    ih: Array
    hh: Array
    bias_ih: Array | None = None
    bias_hh: Array | None = None
    hr: Array | None = None


def gate_inputs(x: Array, weight: Array, bias: Array | None, factor: Any) -> Array:
    """Return ``x Wᵀ + b`` in 32 bits at least, from a product of factors in the dtype ``factor``."""
    product = linear(x.astype(factor), weight.astype(factor))
    product = product.astype(at_least_float32(factor))
    return product if bias is None else product + bias.astype(product.dtype)


def advance(
    mode: str, from_input: Array, state: RecurrentState, weights: RecurrentWeights, factor: Any
) -> RecurrentState:
    """Take one step from the input's share of the gates; all but the products have 32 bits at least."""
    from_hidden = gate_inputs(state[0], weights.hh, weights.bias_hh, factor)
    # The gates are cheap to compute again: not saving them for the gradient saves more time.
    update = jax.checkpoint(lambda *parts: FORMULAS[mode].step(*parts)[0], prevent_cse=False)
    hidden, *rest = update(from_input, from_hidden, state)
    if weights.hr is not None:
        hidden = gate_inputs(hidden, weights.hr, None, factor)
    return hidden, *rest


def _step(
    function: str, mode: str, input: Array, state: RecurrentState, weights: RecurrentWeights
) -> RecurrentState:
    names = ("hidden", "cell")[: len(state)]
    input, *parts = as_floats(function, input=input, **dict(zip(names, state, strict=True)))
    _check_step(input, tuple(parts), weights)
    factor = widest(input.dtype, weights.ih.dtype)
    wide = at_least_float32(factor)
    from_input = gate_inputs(input, weights.ih, weights.bias_ih, factor)
    new = advance(mode, from_input, tuple(part.astype(wide) for part in parts), weights, factor)
    return tuple(part.astype(input.dtype) for part in new)


def _check_step(input: Array, state: RecurrentState, weights: RecurrentWeights) -> None:
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

    Example:
        >>> weights = F.RecurrentWeights(jnp.ones((2, 3)), jnp.zeros((2, 2)))
        >>> F.rnn_cell(jnp.ones(3), jnp.zeros(2), weights, "relu").tolist()
        [3.0, 3.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.RNNCell.html
    """
    check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    return _step("rnn_cell", f"RNN_{nonlinearity.upper()}", input, (hx,), weights)[0]


def lstm_cell(
    input: Array, hx: tuple[Array, Array], weights: RecurrentWeights
) -> tuple[Array, Array]:
    r"""One step of a long short-term memory.

    ``i = σ(W_ii x + b_ii + W_hi h + b_hi)``,
    ``f = σ(W_if x + b_if + W_hf h + b_hf)``,
    ``g = tanh(W_ig x + b_ig + W_hg h + b_hg)``,
    ``o = σ(W_io x + b_io + W_ho h + b_ho)``,
    ``c' = f c + i g``,
    ``h' = o tanh(c')``.

    Args:
        input: ``(N, I)`` or ``(I,)``.
        hx: hidden and cell state, ``(N, H)`` or ``(H,)`` each.
        weights: with four gates i, f, g, o.

    Returns:
        The next hidden and cell state.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> weights = F.RecurrentWeights(jnp.zeros((8, 3)), jnp.zeros((8, 2)))
        >>> hidden, cell = F.lstm_cell(jnp.ones(3), (jnp.zeros(2), jnp.ones(2)), weights)
        >>> cell.tolist()
        [0.5, 0.5]

    Reference: Hochreiter, Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735
    """
    hidden, cell = hx
    hidden, cell = _step("lstm_cell", "LSTM", input, (hidden, cell), weights)
    return hidden, cell


def gru_cell(input: Array, hx: Array, weights: RecurrentWeights) -> Array:
    r"""One step of a gated recurrent unit.

    ``r = σ(W_ir x + b_ir + W_hr h + b_hr)``,
    ``z = σ(W_iz x + b_iz + W_hz h + b_hz)``,
    ``n = tanh(W_in x + b_in + r (W_hn h + b_hn))``,
    ``h' = (1 - z) n + z h``.

    Args:
        input: ``(N, I)`` or ``(I,)``.
        hx: hidden state ``(N, H)`` or ``(H,)``.
        weights: with three gates r, z, n.

    Returns:
        The next hidden state.

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> weights = F.RecurrentWeights(jnp.zeros((6, 3)), jnp.zeros((6, 2)))
        >>> F.gru_cell(jnp.ones(3), jnp.ones(2), weights).tolist()
        [0.5, 0.5]

    Reference: Cho et al. 2014, https://arxiv.org/abs/1406.1078
    """
    return _step("gru_cell", "GRU", input, (hx,), weights)[0]
