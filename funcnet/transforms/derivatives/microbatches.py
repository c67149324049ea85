"""The gradient of a large batch, computed from small parts of it one after another."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice, check_positive
from funcnet.transforms.differentiable_leaves import is_typed_key

__all__ = ["Accumulation", "CallArguments"]

Argument = int | str


@dataclass(frozen=True)
class Accumulation:
    """How `value_and_grad` divides a batch and puts the parts' results together.

    Attributes:
        microbatches: the number of parts, run one after another.
        batched: names or numbers of the arguments to divide along their leading axis; the argument
            named ``batch`` when ``None``.
        threaded: the argument that takes the state which the part before returned as its ``aux``,
            or as the first entry of that.
        weight: what share each part's mean has in the whole's, computed from ``aux``.
        reduction: ``"mean"`` or ``"sum"``, whichever the loss does over its batch.
    """

    microbatches: int
    batched: Argument | Sequence[Argument] | None = None
    threaded: Argument | None = None
    weight: Callable[[Any], Any] | None = None
    reduction: str = "mean"

    def check(self, has_aux: bool) -> None:
        """Raise for settings that contradict each other."""
        check_positive("microbatches", self.microbatches)
        check_choice("reduction", self.reduction, ("mean", "sum"))
        if not has_aux and (self.threaded is not None or self.weight is not None):
            raise ValueError(
                "threaded= and weight= read what the function returns beside its loss: return "
                "(loss, aux) and pass has_aux=True"
            )

    def run(
        self,
        fun: Callable[..., Any],
        one_batch: Callable[..., tuple[Any, list[Array]]],
        moving: list[Any],
        has_aux: bool,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Any, list[Array]]:
        """Run ``one_batch(args, kwargs) -> (value, gradients)`` over the parts and combine."""
        count = self.microbatches
        call = CallArguments(fun, args, kwargs)
        batched = [call.position(which) for which in self.batched_arguments(call)]
        threaded = None if self.threaded is None else call.position(self.threaded)
        parts = {at: _divided(call.name(at), call.get(at), count) for at in batched}

        def body(carry: Any, index: Array) -> tuple[Any, Any]:
            state, sums, total = carry
            new = {at: jax.tree.map(lambda x: _part(x, index), parts[at]) for at in batched}
            if threaded is not None:
                new[threaded] = state
            value, gradients = one_batch(*call.replaced(new, index))
            value, aux = value if has_aux else (value, None)
            weight = jnp.ones(()) if self.weight is None else _scalar(self.weight(aux))
            if self.weight is not None:  # the mean of nothing is 0 / 0
                value, gradients = jax.tree.map(
                    lambda x: jnp.where(weight == 0, 0, x), (value, gradients)
                )
            sums = [
                s + g.astype(s.dtype) * weight.astype(s.dtype) for s, g in _pairs(sums, gradients)
            ]
            if threaded is not None:
                state, aux = _taken(state, aux, call.name(threaded))
            return (state, sums, total + weight), (value * weight.astype(value.dtype), aux)

        state = None if threaded is None else call.get(threaded)
        start = (state, [_buffer(leaf) for leaf in moving], jnp.zeros(()))
        (state, sums, total), (values, aux) = jax.lax.scan(body, start, jnp.arange(count))
        total = total if self.reduction == "mean" else jnp.ones(())
        gradients = [
            (s / total.astype(s.dtype)).astype(jnp.result_type(leaf))
            for s, leaf in _pairs(sums, moving)
        ]
        value = values.sum(0) / total.astype(values.dtype)
        if not has_aux:
            return value, gradients
        if threaded is not None:
            aux = state if aux is None else (state, *aux)
        return (value, aux), gradients

    def batched_arguments(self, call: "CallArguments") -> Sequence[Argument]:
        """Return the names or numbers of the arguments of a call that are divided."""
        if self.batched is None:
            if "batch" not in call.names:
                raise ValueError(
                    "microbatches needs to know which arguments hold the batch: name one `batch`, "
                    f"or pass batched=; the function has {', '.join(call.names)}"
                )
            return ("batch",)
        return (self.batched,) if isinstance(self.batched, int | str) else self.batched


class CallArguments:
    """One call's arguments, read and replaced by name or number."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.args, self.kwargs = args, kwargs
        self.names = list(inspect.signature(fun).parameters)

    def position(self, which: Argument) -> Argument:
        """Turn a name into a number where the call passed that argument by position."""
        if isinstance(which, str) and which not in self.kwargs:
            if which not in self.names or self.names.index(which) >= len(self.args):
                raise ValueError(f"{which!r} is no argument of this call; it has {self.names}")
            return self.names.index(which)
        if isinstance(which, int) and not -len(self.args) <= which < len(self.args):
            raise ValueError(f"the call has {len(self.args)} positional arguments; got {which}")
        return which % len(self.args) if isinstance(which, int) else which

    def name(self, at: Argument) -> str:
        """Return the name of an argument at a position."""
        return at if isinstance(at, str) else self.names[min(at, len(self.names) - 1)]

    def get(self, at: Argument) -> Any:
        """Return the argument at a position."""
        return self.kwargs[at] if isinstance(at, str) else self.args[at]

    def value(self, which: Argument) -> Any:
        """Return an argument by name or number."""
        return self.get(self.position(which))

    def replaced(self, new: dict[Argument, Any], index: Array) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with new values, and every other random key folded with the index."""

        def of(at: Argument, value: Any) -> Any:
            if at in new:
                return new[at]
            return jax.tree.map(lambda leaf: _folded(leaf, index), value)

        args = [of(number, value) for number, value in enumerate(self.args)]
        return args, {name: of(name, value) for name, value in self.kwargs.items()}


def _folded(leaf: Any, index: Array) -> Any:
    is_one_key = is_typed_key(leaf) and not leaf.ndim
    return jax.random.fold_in(leaf, index) if is_one_key else leaf


def _divided(name: str, value: PyTree, count: int) -> PyTree:
    """View each leaf's leading axis as (examples of a part, parts).

    Part ``i`` is examples ``i, i + count, …``: where the axis is sharded over devices, each part
    still is, which a division into blocks would undo.
    """

    def divide(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        if leaf.ndim == 0 or leaf.shape[0] % count:
            raise ValueError(
                f"{name} must have a leading axis that {count} microbatches divide; got a leaf of "
                f"shape {leaf.shape}"
            )
        return leaf.reshape(leaf.shape[0] // count, count, *leaf.shape[1:])

    return jax.tree.map(divide, value)


def _part(leaf: Array, index: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(leaf, index, axis=1, keepdims=False)


def _buffer(leaf: Any) -> Array:
    """Return zeros to add gradients up in: at least 32 bits wide."""
    dtype = jnp.result_type(leaf)
    dtype = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
    return jnp.zeros(jnp.shape(leaf), dtype)


def _scalar(weight: Any) -> Array:
    weight = jnp.asarray(weight).astype(jnp.result_type(float))
    if weight.ndim:
        raise ValueError(f"weight must return a scalar for each microbatch; got {weight.shape}")
    return weight


def _taken(state: PyTree, aux: Any, name: str) -> tuple[PyTree, Any]:
    """Take the new state out of what the function returned beside its loss."""
    expected = jax.tree.structure(state)
    if jax.tree.structure(aux) == expected:
        return aux, None
    if isinstance(aux, tuple) and aux and jax.tree.structure(aux[0]) == expected:
        return aux[0], aux[1:]
    raise ValueError(
        f"the function must return the new {name} as its aux, or as the first entry of it: expected "
        f"{expected}, got {jax.tree.structure(aux)}"
    )


def _pairs(left: list[Any], right: list[Any]) -> zip:  # type: ignore[type-arg]
    return zip(left, right, strict=True)
