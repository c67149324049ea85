"""Functions of positions: what a score becomes, and which query may attend to which key.

They are written for one query and one key, whose positions are whole numbers, and are called once, traced, for all
of them: `jax.vmap` makes an operation as large as what it depends on, and no larger.
"""

import functools
import inspect
import types
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcnet.core.aliases import Array
from funcnet.core.dtypes import is_float
from funcnet.core.jax_internals.programs import trace
from funcnet.functional.attention.plain import product

__all__ = [
    "FlexSettings",
    "MaskMod",
    "Positions",
    "ScoreMod",
    "changed_scores",
    "check_mask",
    "check_score",
    "expect_sizes",
    "joined",
    "opened",
    "over_positions",
    "parted",
    "takes_score",
]

MaskMod: TypeAlias = Callable[[Array, Array, Array, Array], Any]
"""``mask_mod(b, h, q_idx, kv_idx)``: whether a query may attend to a key."""

ScoreMod: TypeAlias = Callable[[Array, Array, Array, Array, Array], Any]
"""``score_mod(score, b, h, q_idx, kv_idx)``: what a score becomes."""

MASK, SCORE = "mask_mod(b, h, q_idx, kv_idx)", "score_mod(score, b, h, q_idx, kv_idx)"


class FlexSettings(NamedTuple):
    """What all forms are told besides query, key and value."""

    score: Callable[..., Array] | None
    """Of its arrays, a score and positions."""
    score_arrays: Sequence[Any]
    mask: Callable[..., Array]
    """Of its arrays and positions."""
    mask_arrays: Sequence[Any]
    scale: Any


class Positions(NamedTuple):
    """Which scores a function is called for."""

    batch: Array
    """``(B,)``."""
    head: Array
    """``(H,)``, heads of queries."""
    query: Array
    """``(1 or B, 1 or H, L)``: each example and head may have other ones."""
    key: Array
    """``(1 or B, 1 or H, S)``."""


def over_positions(function: Callable[..., Any], at: Positions, *scores: Array) -> Array:
    """Call a function of single positions for many.

    Args:
        function: of ``(b, h, q_idx, kv_idx)``, or of a score and these.
        at: the positions.
        *scores: ``(B, H, L, S)`` for a function of scores.

    Returns:
        Shape ``(B, H, L, S)``.
    """
    score = (0,) * len(scores)
    query, by_query = _without_ones(at.query)
    key, by_key = _without_ones(at.key)
    for axes in (
        (None, None, None, 0),
        (None, None, 0, None),
        (None, 0, by_query[1], by_key[1]),
        (0, None, by_query[0], by_key[0]),
    ):
        function = jax.vmap(function, (*score, *axes))
    return function(*scores, at.batch, at.head, query, key)


def changed_scores(
    settings: FlexSettings, query: Array, key: Array, at: Positions, allowed: Array | None
) -> Array:
    """Return scores ``(B, H, L, S)`` of scaled queries, changed, and at minus infinity where they take no part."""
    scores = product(query, key, (-1, -1))
    if settings.score is not None:
        if (
            allowed is not None
        ):  # a score that is not finite where it takes no part gives no gradient
            scores = jnp.where(allowed, scores, jax.lax.stop_gradient(scores))
        score = functools.partial(settings.score, settings.score_arrays)
        scores = over_positions(score, at, scores).astype(scores.dtype)
    return scores if allowed is None else jnp.where(allowed, scores, -jnp.inf)


def _without_ones(places: Array) -> tuple[Array, tuple[int | None, ...]]:
    """Drop the axes of examples and heads that have one element; return along which of them to map."""
    axes = tuple(0 if size > 1 else None for size in places.shape[:2])
    alone = tuple(axis for axis in (0, 1) if axes[axis] is None)
    return places.reshape([n for axis, n in enumerate(places.shape) if axis not in alone]), axes


Sizes: TypeAlias = tuple[int, int, int, int]
"""Of examples, heads of queries, queries and keys."""

_SIZES: ContextVar[Sizes | None] = ContextVar("sizes", default=None)
"""For which sizes the function that is being checked will be called."""


def expect_sizes(
    what: str,
    *,
    b: int | None = None,
    h: int | None = None,
    q: int | None = None,
    kv: int | None = None,
) -> None:
    """Raise if a ready function was made for other sizes than it is to be used with: an index out of range is silent.

    Args:
        what: that function, as an error names it.
        b: for how many examples it was made; None fits all.
        h: for how many heads.
        q: for how many queries.
        kv: for how many keys.

    Raises:
        ValueError: the sizes that are being checked are others.
    """
    names = ("examples, B", "heads, H", "queries", "keys")
    for name, made, used in zip(names, (b, h, q, kv), _SIZES.get() or (None,) * 4, strict=True):
        if None not in (made, used) and made != used:
            raise ValueError(f"{what} was made for {made} {name}; here are {used}")


def check_score(score_mod: Any, sizes: Sizes | None = None) -> None:
    """Raise if a function is none of scores.

    Args:
        score_mod: what the user gave.
        sizes: with which it will be used.

    Raises:
        TypeError: it is no function, takes other arguments, or returns something else than one number.
        ValueError: it was made for other sizes.
    """
    found = _result("score_mod", score_mod, SCORE, sizes, scores=1)
    if not is_float(found):
        hint = " as a mask does: give it to create_block_mask" if found.dtype == bool else ""
        raise TypeError(f"{SCORE} must return the new score; it returns {found.dtype.name}{hint}")


def check_mask(mask_mod: Any, sizes: Sizes | None = None) -> None:
    """Raise if a function is no mask.

    Args:
        mask_mod: what the user gave.
        sizes: with which it will be used.

    Raises:
        TypeError: it is no function, takes other arguments, or returns something else than one boolean.
        ValueError: it was made for other sizes.
    """
    found = _result("mask_mod", mask_mod, MASK, sizes, scores=0)
    if found.dtype != bool:
        hint = " floats to add to scores are a score_mod's" if is_float(found) else ""
        raise TypeError(
            f"{MASK} must return a boolean, True where a query may attend to a key; "
            f"it returns {found.dtype.name}{';' + hint if hint else ''}"
        )


def _result(role: str, function: Any, call: str, sizes: Sizes | None, scores: int) -> Any:
    """Trace a function for one position, and return the type of what it returns."""
    if not callable(function):
        raise TypeError(f"{role} must be a function, {call}; got {function!r:.60}")
    _check_arguments(role, function, call, 4 + scores)
    number, place = jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)

    @functools.wraps(function)
    def anew(*at: Any) -> Any:  # traced again for other sizes
        return function(*at)

    token = _SIZES.set(sizes)
    try:
        found = jax.eval_shape(anew, *(number,) * scores, *(place,) * 4)
    except jax.errors.JAXTypeError as error:
        error.add_note(
            f"{call} is traced once for all positions: write jnp.where(...) in place of `if`, & | ~ "
            "in place of `and`, `or`, `not`, and jnp.asarray of lists and arrays of NumPy that are indexed"
        )
        raise
    finally:
        _SIZES.reset(token)
    if not hasattr(found, "shape") or found.shape:
        shape = f"an array of shape {found.shape}" if hasattr(found, "shape") else f"{found!r:.60}"
        raise TypeError(f"{call} is called for one position and must return a scalar; got {shape}")
    return found


def opened(function: Callable[..., Any], *scores: Any) -> tuple[Callable[..., Array], list[Array]]:
    """Turn a function into one that takes as its first argument the arrays that it closes over.

    What a rule of derivatives is given can be differentiated, mapped and placed; what is closed over cannot.

    Args:
        function: of positions, or of a score and positions.
        *scores: the type of a score for a function of scores.

    Returns:
        The new function, and the arrays.
    """
    place = jax.ShapeDtypeStruct((), jnp.int32)
    # not the function itself, of which JAX would keep what an attribute held the last time
    program, _ = trace(lambda *at: function(*at), *scores, *(place,) * 4)
    arrays, rest = parted(function)
    known = {id(x) for x in arrays}
    if all(id(x) in known or not isinstance(x, Tracer) for x in program.constants):
        return lambda arrays, *at: jnp.asarray(joined(arrays, rest)(*at)), arrays
    # Some are reached by an attribute or a module's name: what was traced is run again with others in their places.
    arrays = [jnp.asarray(x) for x in program.constants]
    program = program.with_constants([None] * len(arrays))

    def call(arrays: Sequence[Array], *at: Array) -> Array:
        try:
            return program.with_constants(arrays)(*at)[0]
        except ValueError as error:  # what was traced has the types of one device
            error.add_note(
                "a function of positions reads traced arrays through an attribute or a module's name, which a mesh "
                "does not allow: write `table = self.table` before the function, and index table in it"
            )
            raise

    return call, arrays


def takes_score(function: Any) -> bool:
    """Whether a function takes five arguments, and so is one of scores."""
    try:
        inspect.signature(function).bind(*range(5))
    except (TypeError, ValueError):
        return False
    return True


def _check_arguments(role: str, function: Any, call: str, count: int) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C tell none
        return
    try:
        signature.bind(*range(count))
    except TypeError:
        name = getattr(function, "__name__", type(function).__name__)
        raise TypeError(
            f"{role} is called as {call}, with {count} arguments; {name}{signature} does not take these"
        ) from None


# ---- the arrays of a function, so that it may be an argument of compiled functions


_ARRAY = object()
"""Stands where an array was."""


class _Rest(NamedTuple):
    """A value without its arrays."""

    tree: Any
    leaves: tuple[Any, ...]


class _Closure(NamedTuple):
    """A function without the arrays that it was written with, equal to another of the same text and settings."""

    code: types.CodeType
    scope: "_Scope"
    name: str
    contents: _Rest
    """Of what it closes over, and its defaults."""


@dataclass(frozen=True, eq=False)
class _Scope:
    """The names of a module; a dict cannot be compared quickly."""

    names: dict[str, Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Scope) and self.names is other.names

    def __hash__(self) -> int:
        return id(self.names)


def parted(value: Any) -> tuple[list[Array], Any]:
    """Part a function, or a tree of functions and arrays, into its arrays and the rest.

    Args:
        value: a function made by ``def`` or ``lambda`` is looked into, what it closes over and its defaults too.

    Returns:
        The arrays, and what can be compared and hashed.
    """
    leaves, tree = jax.tree.flatten(value)
    arrays: list[Array] = []
    rests: list[Any] = []
    for leaf in leaves:
        if isinstance(leaf, (jax.Array, np.ndarray)):
            arrays.append(leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf))
            rests.append(_ARRAY)
        elif isinstance(leaf, types.FunctionType) and (contents := _contents(leaf)) is not None:
            found, rest = parted(contents)
            arrays += found
            rests.append(_Closure(leaf.__code__, _Scope(leaf.__globals__), leaf.__name__, rest))
        else:
            rests.append((type(leaf), leaf))  # so that 1 is not True
    return arrays, _Rest(tree, tuple(rests))


def _contents(function: types.FunctionType) -> Any:
    """Return what a function closes over and its defaults; None if it is to be taken as it is."""
    try:
        cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    except ValueError:  # a cell that is empty as yet
        return None
    contents = cells, function.__defaults__, function.__kwdefaults__
    others = [x for x in jax.tree.leaves(contents) if not isinstance(x, (jax.Array, np.ndarray))]
    if any(x is function or not isinstance(x, Hashable) for x in others):
        return None
    return contents


def joined(arrays: Sequence[Any], rest: _Rest) -> Any:
    """Put together again what `parted` took apart; arrays may be whatever a transform puts in their places."""
    return _joined(iter(arrays), rest)


def _joined(arrays: Iterator[Any], rest: _Rest) -> Any:
    leaves = []
    for leaf in rest.leaves:
        if leaf is _ARRAY:
            leaves.append(next(arrays))
        elif isinstance(leaf, _Closure):
            cells, defaults, keywords = _joined(arrays, leaf.contents)
            closure = tuple(map(types.CellType, cells))
            made = types.FunctionType(leaf.code, leaf.scope.names, leaf.name, defaults, closure)
            made.__kwdefaults__ = keywords
            leaves.append(made)
        else:
            leaves.append(leaf[1])
    return jax.tree.unflatten(rest.tree, leaves)
