"""Recurrent cells: one step at a time."""

from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.core.checks import check_choice
from funcnet.functional.recurrent.cells import RecurrentWeights, gru_cell, lstm_cell, rnn_cell
from funcnet.module import Module, Parameter
from funcnet.nn import init

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"]


class RNNCellBase(Module):
    """The weights of a recurrent cell; use `RNNCell`, `LSTMCell` or `GRUCell`.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: whether gates have biases.
        num_chunks: number of gates.
        dtype: of the parameters.

    Attributes:
        weight_ih: ``(gates · hidden_size, input_size)``, from ``U(-1/√hidden, 1/√hidden)`` as all are.
        weight_hh: ``(gates · hidden_size, hidden_size)``.
        bias_ih: ``(gates · hidden_size,)``, or ``None``.
        bias_hh: ``(gates · hidden_size,)``, or ``None``.

    Example:
        >>> cell = nn.GRUCell(3, 4)
        >>> isinstance(cell, nn.RNNCellBase)
        True
        >>> params, state = fn.functionalize(cell).init(jax.random.key(0))
        >>> params["weight_ih"].shape
        (12, 3)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        start, rows = init.uniform_fan_in(hidden_size), num_chunks * hidden_size
        self.weight_ih = Parameter((rows, input_size), start, dtype)
        self.weight_hh = Parameter((rows, hidden_size), start, dtype)
        self.bias_ih = Parameter((rows,), start, dtype) if bias else None
        self.bias_hh = Parameter((rows,), start, dtype) if bias else None

    def _weights(self) -> RecurrentWeights:
        return RecurrentWeights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    def _zeros(self, input: Array) -> Array:
        return jnp.zeros((*input.shape[:-1], self.hidden_size), input.dtype)


class RNNCell(RNNCellBase):
    """One step of an Elman network: ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: whether there are biases.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        dtype: of the parameters.

    Example:
        >>> net = fn.functionalize(nn.RNNCell(3, 4))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((5, 3)))[0].shape
        (5, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.RNNCell.html
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(input_size, hidden_size, bias, num_chunks=1, dtype=dtype)
        self.nonlinearity = nonlinearity

    def __call__(self, input: Array, hx: Array | None = None) -> Array:
        """Map an input ``(N, I)`` or ``(I,)`` and a state ``(N, H)`` or ``(H,)`` to the next one."""
        hx = self._zeros(input) if hx is None else hx
        return rnn_cell(input, hx, self._weights(), self.nonlinearity)


class LSTMCell(RNNCellBase):
    """One step of a long short-term memory.

    ``i = σ(W_ii x + b_ii + W_hi h + b_hi)``,
    ``f = σ(W_if x + b_if + W_hf h + b_hf)``,
    ``g = tanh(W_ig x + b_ig + W_hg h + b_hg)``,
    ``o = σ(W_io x + b_io + W_ho h + b_ho)``,
    ``c' = f c + i g``,
    ``h' = o tanh(c')``.

    Args:
        input_size: features of the input.
        hidden_size: features of hidden and cell state.
        bias: whether gates have biases.
        dtype: of the parameters.

    Example:
        >>> net = fn.functionalize(nn.LSTMCell(3, 4))
        >>> params, state = net.init(jax.random.key(0))
        >>> hidden, cell = net.apply(params, state, jnp.ones((5, 3)))[0]
        >>> hidden.shape, cell.shape
        ((5, 4), (5, 4))

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTMCell.html
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: DType = jnp.float32
    ) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=4, dtype=dtype)

    def __call__(self, input: Array, hx: tuple[Array, Array] | Any = None) -> tuple[Array, Array]:
        """Map an input and a pair of hidden and cell state to the next pair."""
        hx = (self._zeros(input), self._zeros(input)) if hx is None else tuple(hx)
        return lstm_cell(input, hx, self._weights())


class GRUCell(RNNCellBase):
    """One step of a gated recurrent unit.

    ``r = σ(W_ir x + b_ir + W_hr h + b_hr)``,
    ``z = σ(W_iz x + b_iz + W_hz h + b_hz)``,
    ``n = tanh(W_in x + b_in + r (W_hn h + b_hn))``,
    ``h' = (1 - z) n + z h``.

    Args:
        input_size: features of the input.
        hidden_size: features of the state.
        bias: whether gates have biases.
        dtype: of the parameters.

    Example:
        >>> net = fn.functionalize(nn.GRUCell(3, 4))
        >>> params, state = net.init(jax.random.key(0))
        >>> net.apply(params, state, jnp.ones((5, 3)))[0].shape
        (5, 4)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.GRUCell.html
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: DType = jnp.float32
    ) -> None:
        super().__init__(input_size, hidden_size, bias, num_chunks=3, dtype=dtype)

    def __call__(self, input: Array, hx: Array | None = None) -> Array:
        """Map an input ``(N, I)`` or ``(I,)`` and a state ``(N, H)`` or ``(H,)`` to the next one."""
        return gru_cell(input, self._zeros(input) if hx is None else hx, self._weights())
