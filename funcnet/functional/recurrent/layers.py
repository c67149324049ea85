"""Recurrent layers: one scan that runs any cell over sequences, layers and directions."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Key
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import as_floats, at_least_float32, widest
from funcnet.functional.dropout import dropout
from funcnet.functional.explicit_meshes import spread_like
from funcnet.functional.indices import check_integers, known_values
from funcnet.functional.recurrent.cells import RecurrentWeights, gate_inputs
from funcnet.functional.recurrent.formulas import FORMULAS, RecurrentState
from funcnet.functional.recurrent.loop import CellLoop, run_steps

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
    factor = widest(input.dtype, weights.ih.dtype)
    wide = at_least_float32(factor)
    projected = gate_inputs(input, weights.ih, weights.bias_ih, factor)
    # Outside of the loop the weights have 32 bits, and so has the sum of their gradients over the steps.
    weights = jax.tree.map(lambda weight: weight.astype(at_least_float32(weight.dtype)), weights)
    state = tuple(spread_like(part.astype(wide), projected, {0: 1}) for part in state)
    for other in (*state, *jax.tree.leaves(weights)):
        state = tuple(spread_like(part, other) for part in state)
    counts = None if counts is None else spread_like(counts, input, {0: 0, 1: 1})

    loop = CellLoop(mode, reverse, factor)
    output, final = run_steps(loop, projected, state, weights, counts)
    if counts is not None:
        output = jnp.where(counts, output, 0)
    return output.astype(input.dtype), tuple(part.astype(input.dtype) for part in final)


def _counts(lengths: ArrayLike, time: int, batch: int) -> Array:
    """Return the mask ``(T, N, 1)`` of the steps that count."""
    values = known_values(lengths)
    if values is not None and values.size and (values.min() < 0 or values.max() > time):
        raise ValueError(f"lengths must lie in [0, {time}]; got {values.tolist()}")
    lengths = jnp.asarray(lengths)
    if lengths.shape != (batch,):
        raise ValueError(
            f"lengths must have shape {(batch,)}, one for each sequence; got {lengths.shape}"
        )
    check_integers("lengths", lengths)
    return (jnp.arange(time, dtype=lengths.dtype)[:, None] < lengths)[..., None]


def recurrent(
    mode: str,
    input: Array,
    hx: RecurrentState,
    weights: Sequence[RecurrentWeights],
    *,
    bidirectional: bool = False,
    dropout_p: float = 0.0,
    training: bool = False,
    lengths: ArrayLike | None = None,
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
            is zero. Equal to PyTorch's packed sequences. Lengths that are known lie in 0 to T; of those
            that are traced, one below counts as 0 and one above as T.
        key: for the dropout.

    Returns:
        The output ``(T, N, directions · H)`` and the final states, like ``hx``, in the dtype that input
        and ``hx`` are promoted to.

    Raises:
        ValueError: an unknown mode, or lengths that are not those of the sequences.
        TypeError: integers or booleans.

    Example:
        >>> weights = F.RecurrentWeights(jnp.ones((2, 3)), jnp.zeros((2, 2)))
        >>> output, (hidden,) = F.recurrent(
        ...     "RNN_RELU", jnp.ones((4, 1, 3)), (jnp.zeros((1, 1, 2)),), [weights], lengths=jnp.array([2])
        ... )
        >>> output[:, 0, 0].tolist(), hidden.tolist()
        ([3.0, 3.0, 0.0, 0.0], [[[3.0, 3.0]]])

    Reference: https://docs.pytorch.org/docs/stable/nn.html#recurrent-layers
    """
    check_choice("mode", mode, FORMULAS)
    names = zip(("hidden", "cell"), hx, strict=False)
    input, *parts = as_floats("recurrent", input=input, **dict(names))
    directions = 2 if bidirectional else 1
    counts = None
    if lengths is not None:
        counts = _counts(lengths, *input.shape[:2])
        input = jnp.where(counts, input, 0)  # so that NaN behind the end reaches no gradient
    finals: list[RecurrentState] = []
    layers = len(weights) // directions
    for layer in range(layers):
        outputs: list[Array] = []
        for place in range(layer * directions, (layer + 1) * directions):
            state = tuple(part[place] for part in parts)
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
