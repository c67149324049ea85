"""Recurrent layers: one scan that runs any cell over sequences, layers and directions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_choice
from funcnet.functional.dropout import dropout
from funcnet.functional.linear import linear
from funcnet.functional.recurrent.cells import GATES, RecurrentState, RecurrentWeights, advance

__all__ = ["recurrent"]


def _scan(
    mode: str,
    input: Array,
    state: RecurrentState,
    weights: RecurrentWeights,
    counts: Array | None,
    reverse: bool,
) -> tuple[Array, RecurrentState]:
    """Run one layer in one direction; the input is ``(T, N, I)``, ``counts`` a mask ``(T, N, 1)``.

    A step that does not count leaves the state as it is, so that the backward direction starts at
    each sequence's own end.
    """
    projected = linear(input, weights.ih, weights.bias_ih)

    def step(state: RecurrentState, at: tuple[Array, Array | None]) -> tuple[RecurrentState, Array]:
        from_input, count = at
        new = advance(mode, from_input, state, weights)
        if count is None:
            return new, new[0]
        new = tuple(jnp.where(count, part, old) for part, old in zip(new, state, strict=True))
        return new, jnp.where(count, new[0], jnp.zeros((), new[0].dtype))

    final, output = jax.lax.scan(step, state, (projected, counts), reverse=reverse)
    return output, final


def recurrent(
    mode: str,
    input: Array,
    hx: RecurrentState,
    weights: Sequence[RecurrentWeights],
    *,
    bidirectional: bool = False,
    dropout_p: float = 0.0,
    training: bool = False,
    lengths: Array | None = None,
    key: Key | None = None,
) -> tuple[Array, RecurrentState]:
    """Run a stack of recurrent layers over sequences.

    Args:
        mode: ``"RNN_TANH"``, ``"RNN_RELU"``, ``"LSTM"`` or ``"GRU"``.
        input: ``(T, N, I)``.
        hx: initial states ``(layers · directions, N, H)``: the hidden one, and an LSTM's cell.
        weights: one for each layer and direction, in the order of ``hx``.
        bidirectional: whether each layer also runs backwards; both outputs are concatenated.
        dropout_p: of the output of each layer except the last.
        training: whether to apply it.
        lengths: ``(N,)``, the number of steps of each sequence that count; the rest of the output
            is zero. Equal to PyTorch's packed sequences.
        key: for the dropout.

    Returns:
        The output ``(T, N, directions · H)`` and the final states, like ``hx``.

    Example:
        >>> weights = F.RecurrentWeights(jnp.ones((2, 3)), jnp.zeros((2, 2)))
        >>> output, (hidden,) = F.recurrent(
        ...     "RNN_RELU", jnp.ones((4, 1, 3)), (jnp.zeros((1, 1, 2)),), [weights], lengths=jnp.array([2])
        ... )
        >>> output[:, 0, 0].tolist(), hidden.tolist()
        ([3.0, 3.0, 0.0, 0.0], [[[3.0, 3.0]]])

    Reference: https://docs.pytorch.org/docs/stable/nn.html#recurrent-layers
    """
    check_choice("mode", mode, GATES)
    directions = 2 if bidirectional else 1
    counts = None
    if lengths is not None:
        steps = jnp.arange(input.shape[0], dtype=lengths.dtype)
        counts = (steps[:, None] < lengths)[..., None]
    finals: list[RecurrentState] = []
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
