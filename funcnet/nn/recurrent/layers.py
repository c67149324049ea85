"""Recurrent layers over sequences."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_choice, check_positive, check_probability
from funcnet.functional.recurrent.cells import RecurrentWeights
from funcnet.functional.recurrent.formulas import FORMULAS
from funcnet.functional.recurrent.layers import recurrent
from funcnet.module import Module, Parameter
from funcnet.nn import init

__all__ = ["GRU", "LSTM", "RNN", "RNNBase"]


class RNNBase(Module):
    """A stack of recurrent layers; use `RNN`, `LSTM` or `GRU`.

    Args:
        mode: ``"RNN_TANH"``, ``"RNN_RELU"``, ``"LSTM"`` or ``"GRU"``.
        input_size: features of the input.
        hidden_size: features of the hidden state.
        num_layers: number of layers, each of which takes the output of the one before.
        bias: whether gates have biases.
        batch_first: whether input and output are ``(N, T, ·)`` instead of ``(T, N, ·)``.
        dropout: of the output of each layer except the last, in training.
        bidirectional: whether each layer also runs backwards.
        proj_size: features that an LSTM's hidden state is projected to; 0 for none.
        dtype: of the parameters.

    Attributes:
        weight_ih_l0: ``(gates · hidden_size, input_size)``, from ``U(-1/√hidden, 1/√hidden)`` as all
            are; ``_l1`` … for further layers, ``_reverse`` for the backward direction.
        weight_hh_l0: ``(gates · hidden_size, hidden_size)``.
        bias_ih_l0: ``(gates · hidden_size,)``.
        bias_hh_l0: ``(gates · hidden_size,)``.
        weight_hr_l0: ``(proj_size, hidden_size)``.

    Raises:
        ValueError: sizes that are not above zero, a dropout outside of [0, 1], or a ``proj_size``
            that is not below ``hidden_size``.
        TypeError: sizes that are not integers, switches that are not booleans.

    Example:
        >>> net = fn.functionalize(nn.RNNBase("GRU", 3, 4))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, hidden = net.apply(params, state, jnp.ones((7, 5, 3)))[0]
        >>> output.shape, hidden.shape
        ((7, 5, 4), (1, 5, 4))

    Reference: https://docs.pytorch.org/docs/stable/nn.html#recurrent-layers
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        _check_sizes(mode, input_size, hidden_size, num_layers, dropout, proj_size)
        for name, value in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be True or False; got {value!r}")
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        for layer in range(num_layers):
            for suffix in self._suffixes(layer):
                self._declare(layer, suffix, dtype)

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]

    def _declare(self, layer: int, suffix: str, dtype: DType) -> None:
        start = init.uniform_fan_in(self.hidden_size)
        rows, output = (
            FORMULAS[self.mode].gates * self.hidden_size,
            self.proj_size or self.hidden_size,
        )
        features = output * (1 + self.bidirectional) if layer else self.input_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, features),
            "weight_hh": (rows, output),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        for name, shape in shapes.items():
            setattr(self, name + suffix, Parameter(shape, start, dtype))

    def _weights(self) -> list[RecurrentWeights]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        found: list[RecurrentWeights] = []
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                arrays: list[Any] = [getattr(self, name + suffix, None) for name in names]
                found.append(RecurrentWeights(*arrays))
        return found

    def __call__(
        self,
        input: Array,
        hx: Any = None,
        *,
        lengths: ArrayLike | None = None,
        segment_ids: ArrayLike | None = None,
    ) -> Any:
        """Run over sequences.

        Args:
            input: ``(T, N, input_size)``, ``(N, T, input_size)`` if ``batch_first``, or
                ``(T, input_size)`` for a single sequence.
            hx: initial state ``(layers · directions, N, hidden_size)``, without ``N`` for a single
                sequence; a pair of them, hidden and cell, for an LSTM. Zeros by default.
            lengths: ``(N,)``, the number of steps of each sequence that count, 0 to T; the rest of
                the output is zero. Equal to PyTorch's packed sequences.
            segment_ids: ``(N, T)``, whatever ``batch_first`` is, or ``(T,)``, instead of ``lengths``: which of several
                sequences packed in a row a step belongs to, as `funcnet.data.pack` yields; 0 is padding, where the
                output is zero. ``hx`` is the state before the first segment of a row, such as one that goes on from
                the row before; all others begin with zeros. `F.segment_take` takes each segment's last output.

        Returns:
            The output, ``(T, N, directions · hidden_size)`` or laid out as the input is, and the
            final state, like ``hx``.

        Raises:
            ValueError: shapes that do not fit.
        """
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise ValueError(
                f"input must have shape (T, N, {self.input_size}), with N and T swapped if "
                f"batch_first, or (T, {self.input_size}); got {input.shape}"
            )
        if input.ndim == 2:
            lengths, segment_ids = _as_row(lengths, 1), _as_row(segment_ids, 2)
        batched, swapped = input.ndim == 3, self.batch_first and input.ndim == 3
        sequence = input if batched else input[:, None]
        sequence = sequence.swapaxes(0, 1) if swapped else sequence
        state = self._initial(hx, sequence, batched)
        random = self.training and self.num_layers > 1 and 0 < self.dropout < 1
        output, final = recurrent(
            self.mode,
            sequence,
            state,
            self._weights(),
            bidirectional=self.bidirectional,
            dropout_p=self.dropout,
            training=self.training,
            lengths=lengths,
            segment_ids=segment_ids,
            key=self.next_key() if random else None,
        )
        output = output.swapaxes(0, 1) if swapped else output
        if not batched:
            output, final = output[:, 0], tuple(part[:, 0] for part in final)
        return output, final if self.mode == "LSTM" else final[0]

    def _initial(self, hx: Any, sequence: Array, batched: bool) -> tuple[Array, ...]:
        """Return the initial states ``(layers · directions, N, H)``: zeros, or what was given."""
        depth, batch = self.num_layers * (1 + self.bidirectional), sequence.shape[1]
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        shapes = [(depth, batch, size) for size in sizes[: 2 if self.mode == "LSTM" else 1]]
        if hx is None:
            return tuple(jnp.zeros(shape, sequence.dtype) for shape in shapes)
        given = tuple(hx) if self.mode == "LSTM" else (hx,)
        expected = shapes if batched else [(depth, size) for *_, size in shapes]
        if [part.shape for part in given] != expected:
            raise ValueError(
                f"the initial state must have shape {' and '.join(map(str, expected))}; "
                f"got {' and '.join(str(part.shape) for part in given)}"
            )
        return given if batched else tuple(part[:, None] for part in given)


def _as_row(values: Any, ndim: int) -> Any:
    """Give what is said of a single sequence the axis of a batch; NumPy's arrays stay such, whose values are known."""
    if values is None or np.ndim(values) == ndim:
        return values
    return (values if isinstance(values, Array) else np.asarray(values))[None]


def _check_sizes(
    mode: str, input_size: int, hidden_size: int, num_layers: int, dropout: float, proj_size: int
) -> None:
    check_choice("mode", mode, FORMULAS)
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            raise TypeError(f"{name} must be an integer; got {size!r}")
        check_positive(name, size)
    check_positive("num_layers", num_layers)
    if isinstance(dropout, bool) or not isinstance(dropout, int | float):
        raise ValueError(f"dropout must be a probability; got {dropout!r}")
    check_probability("dropout", dropout)
    if not 0 <= proj_size < hidden_size:
        raise ValueError(
            f"proj_size must be at least 0 and below hidden_size={hidden_size}; got {proj_size}"
        )


class RNN(RNNBase):
    r"""An Elman network: ``h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``.

    Args:
        input_size: features of the input.
        hidden_size: features of the hidden state.
        num_layers: number of layers.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: whether there are biases.
        batch_first: whether input and output are ``(N, T, ·)`` instead of ``(T, N, ·)``.
        dropout: of the output of each layer except the last, in training.
        bidirectional: whether each layer also runs backwards.
        dtype: of the parameters.

    Example:
        >>> net = fn.functionalize(nn.RNN(3, 4, batch_first=True))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, hidden = net.apply(params, state, jnp.ones((5, 7, 3)), lengths=[7, 2, 3, 4, 5])[0]
        >>> output.shape, hidden.shape
        ((5, 7, 4), (1, 5, 4))

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.RNN.html
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        self.nonlinearity = nonlinearity
        super().__init__(
            f"RNN_{nonlinearity.upper()}",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            dtype=dtype,
        )


class LSTM(RNNBase):
    r"""Long short-term memory.

    ``i = σ(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)``,
    ``f = σ(W_if x_t + b_if + W_hf h_{t-1} + b_hf)``,
    ``g = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)``,
    ``o = σ(W_io x_t + b_io + W_ho h_{t-1} + b_ho)``,
    ``c_t = f c_{t-1} + i g``,
    ``h_t = o tanh(c_t)``.

    State is a pair of hidden and cell state.

    Args:
        input_size: features of the input.
        hidden_size: features of the hidden and cell state.
        num_layers: number of layers.
        bias: whether gates have biases.
        batch_first: whether input and output are ``(N, T, ·)`` instead of ``(T, N, ·)``.
        dropout: of the output of each layer except the last, in training.
        bidirectional: whether each layer also runs backwards.
        proj_size: features that the hidden state is projected to; 0 for none.
        dtype: of the parameters.

    Example:
        >>> net = fn.functionalize(nn.LSTM(3, 4, num_layers=2))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, (hidden, cell) = net.apply(params, state, jnp.ones((7, 5, 3)))[0]
        >>> output.shape, cell.shape
        ((7, 5, 4), (2, 5, 4))

    Reference: Hochreiter, Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; with a
    projection, Sak et al. 2014, https://arxiv.org/abs/1402.1128
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            dtype=dtype,
        )


class GRU(RNNBase):
    r"""Gated recurrent units.

    ``r = σ(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)``,
    ``z = σ(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)``,
    ``n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn))``,
    ``h_t = (1 - z) n + z h_{t-1}``.

    Args:
        input_size: features of the input.
        hidden_size: features of the hidden state.
        num_layers: number of layers.
        bias: whether gates have biases.
        batch_first: whether input and output are ``(N, T, ·)`` instead of ``(T, N, ·)``.
        dropout: of the output of each layer except the last, in training.
        bidirectional: whether each layer also runs backwards.
        dtype: of the parameters.

    Example:
        >>> net = fn.functionalize(nn.GRU(3, 4, bidirectional=True))
        >>> params, state = net.init(jax.random.key(0))
        >>> output, hidden = net.apply(params, state, jnp.ones((7, 5, 3)))[0]
        >>> output.shape, hidden.shape
        ((7, 5, 8), (2, 5, 4))

    Reference: Cho et al. 2014, https://arxiv.org/abs/1406.1078
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            dtype=dtype,
        )
