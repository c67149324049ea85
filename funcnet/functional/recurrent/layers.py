"""Recurrent layers: one scan that runs any cell over sequences, layers and directions."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, Key
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import as_floats, at_least_float32, widest
from funcnet.functional.dropout import dropout
from funcnet.functional.explicit_meshes import spread_like
from funcnet.functional.recurrent.cells import RecurrentWeights, gate_inputs
from funcnet.functional.recurrent.formulas import FORMULAS, RecurrentState
from funcnet.functional.recurrent.loop import CellLoop, run_steps
from funcnet.functional.sequences.masks import length_mask, segment_array
from funcnet.functional.sequences.segments import check_runs, segment_starts

__all__ = ["recurrent"]


def _scan(
    mode: str,
    input: Array,
    state: RecurrentState,
    weights: RecurrentWeights,
    steps: "_Steps",
    reverse: bool,
) -> tuple[Array, RecurrentState]:
    """Run one layer in one direction; the input is ``(T, N, I)``.

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
    counts, resets = (
        None if mask is None else spread_like(mask, input, {0: 0, 1: 1})
        for mask in (steps.counts, steps.resets[reverse])
    )

    loop = CellLoop(mode, reverse, factor)
    output, final = run_steps(loop, projected, state, weights, counts, resets)
    if counts is not None:
        output = jnp.where(counts, output, 0)
    return output.astype(input.dtype), tuple(part.astype(input.dtype) for part in final)


class _Steps(NamedTuple):
    """Masks ``(T, N, 1)``, each None where it would be the same throughout.

    Attributes:
        counts: which steps count.
        resets: which begin with a state of zeros, forwards and backwards.
    """

    counts: Array | None
    resets: tuple[Array | None, Array | None]


def _steps(
    lengths: ArrayLike | None, segment_ids: ArrayLike | None, time: int, batch: int
) -> _Steps:
    if lengths is not None and segment_ids is not None:
        raise ValueError(
            "give either lengths or segment_ids, not both: segments of the number 0 are padding"
        )
    if segment_ids is not None:
        check_runs(segment_ids)
        ids = segment_array("segment_ids", segment_ids)
        _check_fits("segment_ids", ids, (batch, time), "one for each step of each row")
        forwards, backwards = segment_starts(ids), segment_starts(ids, reverse=True)
        return _Steps(_of_steps(ids != 0), (_of_steps(forwards), _of_steps(backwards)))
    if lengths is None:
        return _Steps(None, (None, None))
    mask = length_mask(lengths, time)
    _check_fits("lengths", mask[..., 0], (batch,), "one for each sequence")
    return _Steps(_of_steps(mask), (None, None))


def _of_steps(mask: Array) -> Array:
    """Turn a mask ``(N, T)`` into one that a loop over steps takes."""
    return mask.T[..., None]


def _check_fits(name: str, array: Array, shape: tuple[int, ...], meaning: str) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, {meaning}; got {array.shape}")


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
    segment_ids: ArrayLike | None = None,
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
        segment_ids: ``(N, T)``, instead of ``lengths``: which of several sequences packed in a row a step belongs
            to, as `data.pack` yields; 0 is padding, where the output is zero. Each direction begins the first
            segment that it meets in the state ``hx``, all others in one of zeros; the final states are those of the
            last that it meets.
        key: for the dropout.

    Returns:
        The output ``(T, N, directions · H)`` and the final states, like ``hx``, in the dtype that input
        and ``hx`` are promoted to.

    Raises:
        ValueError: an unknown mode, lengths or segment ids that are not those of the sequences, or both.
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
    steps = _steps(lengths, segment_ids, *input.shape[:2])
    if steps.counts is not None:
        input = jnp.where(steps.counts, input, 0)  # so that NaN in padding reaches no gradient
    finals: list[RecurrentState] = []
    layers = len(weights) // directions
    for layer in range(layers):
        outputs: list[Array] = []
        for place in range(layer * directions, (layer + 1) * directions):
            state = tuple(part[place] for part in parts)
            output, final = _scan(
                mode, input, state, weights[place], steps, place % directions == 1
            )
            outputs.append(output)
            finals.append(final)
        input = jnp.concatenate(outputs, axis=-1) if bidirectional else outputs[0]
        if layer < layers - 1:
            layer_key = None if key is None else jax.random.fold_in(key, layer)
            input = dropout(input, dropout_p, training, key=layer_key)
    return input, tuple(jnp.stack(parts) for parts in zip(*finals, strict=True))
