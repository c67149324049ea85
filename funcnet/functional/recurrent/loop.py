"""The loop over the steps of a sequence, and its derivative.

The gradient of the recurrent weight is a sum over the steps. Accumulated inside of the loop it costs a product
and an addition of the whole weight each step. Here the change of the state is followed by a loop of its own,
which is driven by the products of *all* hidden states with the change of the weight: one product before that
loop, and so, transposed, one product after the backward loop. The rule is one for forward mode, made of ordinary
operations: every transform, of any order, goes through it.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from funcnet.core.aliases import Array
from funcnet.functional.explicit_meshes import on_mesh_of, spread_like
from funcnet.functional.recurrent.cells import RecurrentWeights, gate_inputs
from funcnet.functional.recurrent.formulas import FORMULAS, RecurrentState

__all__ = ["CellLoop", "run_steps"]

_GPU_BLOCKS = {1: 16, 3: 8, 4: 8}
"""How many steps a turn of the loop takes on a GPU, by the number of gates.

Measured with ``python -m benchmarks.layers_recurrent`` on an H200, forward and backward, in milliseconds: RNN 256,
256 steps, batch 64: 3.5 one step at a time, 2.3 in blocks of 4, 1.8 of 16, 2.0 of 32; LSTM 256: 6.7, 4.0 of 4, 4.1 of
8, 3.7 of 16; GRU 512, 128 steps: 3.8, 2.7 of 8. Larger blocks take longer to compile. On CPUs they gain nothing.
"""


def steps_in_a_block(mode: str) -> int:
    """Return how many steps of a cell one turn of the loop takes; the numbers are the same for any.

    A GPU spends more time on starting a kernel than on one step's work. A block is started as one graph, and its
    outputs are stored at once.
    """
    return _GPU_BLOCKS[FORMULAS[mode].gates] if jax.default_backend() == "gpu" else 1


class CellLoop(NamedTuple):
    """How to run a cell over a sequence.

    Attributes:
        mode: of the cell.
        reverse: whether to begin at the last step.
        factor: dtype of the factors of the matrix products.
    """

    mode: str
    reverse: bool
    factor: np.dtype

    def scan(self, step: Any, start: Any, rows: Any) -> tuple[Any, Any]:
        """Run a function over rows, in blocks of several steps where that is quicker."""
        length = jax.tree.leaves(rows)[0].shape[0]
        block = max(1, min(steps_in_a_block(self.mode), length))
        return jax.lax.scan(step, start, rows, reverse=self.reverse, unroll=block)

    def before(self, states: Array, first: Array) -> Array:
        """Return the state before each step, given those after and the first."""
        first = first[None]
        parts = [states[1:], first] if self.reverse else [first, states[:-1]]
        return jnp.concatenate(parts) if len(states) else states


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def run_steps(
    loop: CellLoop,
    from_input: Array,
    state: RecurrentState,
    weights: RecurrentWeights,
    counts: Array | None,
    resets: Array | None = None,
) -> tuple[Array, RecurrentState]:
    """Run a cell over a sequence.

    Args:
        loop: how.
        from_input: the input's share of the gates at every step, ``(T, N, G·H)``.
        state: before the first step, ``(N, P)``, and an LSTM's cell ``(N, H)``.
        weights: of which ``ih`` and ``bias_ih`` are in ``from_input`` already.
        counts: which steps count, ``(T, N, 1)``, or None; the others leave the state as it is.
        resets: which steps begin with a state of zeros, ``(T, N, 1)``, or None.

    Returns:
        The hidden state after each step ``(T, N, P)``, and the final state.
    """
    return _forward(loop, from_input, state, weights, counts, resets, False)[:2]


def _forward(
    loop: CellLoop,
    from_input: Array,
    state: RecurrentState,
    weights: RecurrentWeights,
    counts: Array | None,
    resets: Array | None,
    with_slopes: bool,
) -> tuple[Array, RecurrentState, Any]:
    """Run the steps, and return with the states what their change needs: slopes, and outputs of an LSTM's gates."""
    formula = FORMULAS[loop.mode]

    def step(
        state: RecurrentState, at: tuple[Array, Array | None, Array | None]
    ) -> tuple[RecurrentState, Any]:
        share, count, reset = at
        state = _reset(reset, state)
        placed = jax.tree.map(lambda weight: on_mesh_of(weight, share), weights)
        from_hidden = gate_inputs(state[0], placed.hh, placed.bias_hh, loop.factor)
        (hidden, *rest), slopes = formula.step(share, from_hidden, state)
        kept = (slopes(), None if weights.hr is None else hidden) if with_slopes else None
        new = _projected(hidden, rest, placed.hr, loop.factor)
        new = _where(count, new, state)
        return new, (new[0], kept)

    final, (hidden, kept) = loop.scan(step, state, (from_input, counts, resets))
    return hidden, final, kept


@partial(run_steps.defjvp, symbolic_zeros=True)
def _run_steps_jvp(loop: CellLoop, primals: Any, tangents: Any) -> Any:
    from_input, state, weights, counts, resets = primals
    input_change, state_change, weight_change, *_ = tangents
    hidden, final, (slopes, gated) = _forward(
        loop, from_input, state, weights, counts, resets, True
    )
    (before,) = _reset(resets, (loop.before(hidden, state[0]),))
    drive, apart = _drives(loop, before, input_change, weight_change, from_input)
    extra = None
    if weights.hr is not None and not _is_zero(weight_change.hr):
        extra = gate_inputs(gated, weight_change.hr, None, loop.factor)
    formula = FORMULAS[loop.mode]
    if formula.slopes is not None:
        slopes = formula.slopes(hidden)

    def step(changes: RecurrentState, at: Any) -> tuple[RecurrentState, Array]:
        slopes, drive, apart, extra, count, reset = at
        changes = _reset(reset, changes)
        placed = jax.tree.map(lambda weight: on_mesh_of(weight, drive), weights)
        from_hidden = gate_inputs(changes[0], placed.hh, None, loop.factor)
        drive, apart = _add_hidden(drive, apart, from_hidden)
        new_hidden, *rest = formula.change(slopes, drive, apart, changes)
        new = _projected(new_hidden, rest, placed.hr, loop.factor)
        if extra is not None:
            new = (new[0] + extra, *new[1:])
        new = _where(count, new, changes)
        return new, new[0]

    start = tuple(map(_filled, state_change, state))
    final_change, hidden_change = loop.scan(
        step, start, (slopes, drive, apart, extra, counts, resets)
    )
    return (hidden, final), (hidden_change, final_change)


def _projected(
    hidden: Array, rest: list[Array], weight: Array | None, factor: Any
) -> RecurrentState:
    if weight is not None:
        hidden = gate_inputs(hidden, weight, None, factor)
    return hidden, *rest


def _where(count: Array | None, new: RecurrentState, old: RecurrentState) -> RecurrentState:
    if count is None:
        return new
    return tuple(jnp.where(count, part, kept) for part, kept in zip(new, old, strict=True))


def _reset(reset: Array | None, state: RecurrentState) -> RecurrentState:
    if reset is None:
        return state
    return tuple(jnp.where(reset, jnp.zeros((), part.dtype), part) for part in state)


def _is_zero(change: Any) -> bool:
    return change is None or isinstance(change, SymbolicZero)


def _filled(change: Any, like: Array) -> Array:
    """Return a change as an array, spread over devices as what it is a change of."""
    if not _is_zero(change):
        return change
    every = {axis: axis for axis in range(like.ndim)}
    return spread_like(jnp.zeros(like.shape, like.dtype), like, every)


def _drives(
    loop: CellLoop, before: Array, input_change: Any, weight_change: Any, like: Array
) -> tuple[Array, Array | None]:
    """Return what drives the change of the state at each step, and what of the hidden state's share acts apart."""
    drive, apart = _filled(input_change, like), None
    if FORMULAS[loop.mode].apart:
        apart = jnp.zeros_like(drive[..., : drive.shape[-1] // 3])
    if not _is_zero(weight_change.hh):
        share = gate_inputs(before, weight_change.hh, None, loop.factor)
        drive, apart = _add_hidden(drive, apart, share)
    if not _is_zero(weight_change.bias_hh):
        bias = jnp.broadcast_to(weight_change.bias_hh.astype(drive.dtype), (1, 1, drive.shape[-1]))
        drive, apart = _add_hidden(drive, apart, bias)
    return drive, apart


def _add_hidden(drive: Array, apart: Array | None, share: Array) -> tuple[Array, Array | None]:
    """Add to the drive a change of the hidden state's share of the gates; a GRU's candidate keeps it apart."""
    if apart is None:
        return drive + share, None
    gates = drive.shape[-1] - apart.shape[-1]
    both = drive[..., :gates] + share[..., :gates]
    return jnp.concatenate([both, drive[..., gates:]], axis=-1), apart + share[..., gates:]
