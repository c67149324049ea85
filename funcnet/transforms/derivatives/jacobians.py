"""Whole matrices of first derivatives, built forwards or backwards."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.transforms.arguments import pick, replace, wraps
from funcnet.transforms.derivatives.linear_map import flattened
from funcnet.transforms.differentiable_leaves import Pattern, split
from funcnet.transforms.loops.vmap import vmap

__all__ = ["jacfwd", "jacrev"]


def jacfwd(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    r"""Turn ``fun`` into a function that returns its Jacobian, built column by column.

    .. math:: J_{ij} = \frac{\partial f_i}{\partial x_j}

    As `jax.jacfwd`: cheapest when there are fewer inputs than outputs. The result has the output's
    structure with the argument's structure at each leaf; a block has the shape of the output leaf
    followed by that of the argument's leaf. Blocks of integer and boolean leaves are zeros.

    Args:
        fun: any function of arrays.
        argnums: the positional argument, or arguments, to differentiate.
        has_aux: whether ``fun`` returns ``(output, aux)``; ``aux`` is passed through.
        holomorphic: whether ``fun`` is a holomorphic function of complex leaves.
        chunk_size: columns to hold in memory at once; all of them when ``None``.

    Returns:
        A function of the same arguments that returns the Jacobian, or ``(jacobian, aux)``.

    Raises:
        TypeError: an input is complex without ``holomorphic``, or real with it.

    >>> transforms.jacfwd(lambda x: x**2)(jnp.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        of_moving, source, moving = _of_moving(fun, argnums, has_aux, args, kwargs)
        _check_field("jacfwd", "input", moving, holomorphic)
        moved, push, (target, _, aux) = jax.linearize(of_moving, moving, has_aux=True)
        if holomorphic:
            _check_field("jacfwd", "output", moved, holomorphic)

        columns = vmap(lambda i: push(_basis(moving, i)), out_axes=-1, chunk_size=chunk_size)
        slopes = columns(jnp.arange(_total_size(moving)))
        blocks = [_divide(slope, moving, -1) for slope in slopes]
        result = _assemble(blocks, moved, moving, source, target)
        return (result, aux) if has_aux else result

    return jacobian


def jacrev(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    r"""Turn ``fun`` into a function that returns its Jacobian, built row by row.

    .. math:: J_{ij} = \frac{\partial f_i}{\partial x_j}

    As `jax.jacrev`: cheapest when there are fewer outputs than inputs. The result is laid out as
    that of `jacfwd`; blocks of integer and boolean leaves are zeros.

    Args:
        fun: any function of arrays.
        argnums: the positional argument, or arguments, to differentiate.
        has_aux: whether ``fun`` returns ``(output, aux)``; ``aux`` is passed through.
        holomorphic: whether ``fun`` is a holomorphic function of complex leaves.
        allow_int: as in JAX's signature; without effect, because integers are constants anyway.
        chunk_size: rows to hold in memory at once; all of them when ``None``.

    Returns:
        A function of the same arguments that returns the Jacobian, or ``(jacobian, aux)``.

    Raises:
        TypeError: an output is complex without ``holomorphic``, or real with it.

    >>> transforms.jacrev(lambda x: x**2, chunk_size=1)(jnp.array([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        of_moving, source, moving = _of_moving(fun, argnums, has_aux, args, kwargs)
        if holomorphic:
            _check_field("jacrev", "input", moving, holomorphic)
        moved, pull, (target, _, aux) = jax.vjp(of_moving, moving, has_aux=True)
        _check_field("jacrev", "output", moved, holomorphic)

        rows = vmap(lambda i: pull(_basis(moved, i))[0], chunk_size=chunk_size)
        slopes = rows(jnp.arange(_total_size(moved)))
        divided = [_divide(slope, moved, 0) for slope in slopes]
        blocks = [[parts[row] for parts in divided] for row in range(len(moved))]
        result = _assemble(blocks, moved, moving, source, target)
        return (result, aux) if has_aux else result

    return jacobian


def _of_moving(
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    args: Sequence[Any],
    kwargs: dict[str, Any],
) -> tuple[Callable[[list[Any]], Any], Pattern, list[Any]]:
    """Return ``fun`` as a function of the differentiable leaves alone, their pattern, and them."""
    source, moving, constants = split((pick(args, argnums),))

    def of_chosen(chosen: Any) -> Any:
        return fun(*replace(args, argnums, chosen), **kwargs)

    flat = flattened(of_chosen, source, constants, has_aux, single=False)
    return flat, source, [jnp.asarray(leaf) for leaf in moving]


def _check_field(name: str, side: str, leaves: list[Any], holomorphic: bool) -> None:
    """Raise unless all leaves are real, or all complex for a holomorphic function."""
    for leaf in leaves:
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jnp.complexfloating) != holomorphic:
            expected = "complex" if holomorphic else "real"
            hint = "" if holomorphic else "; pass holomorphic=True for a holomorphic function"
            raise TypeError(f"{name} needs every {side} to be {expected}; got {dtype}{hint}")


def _total_size(leaves: Sequence[Array]) -> int:
    return sum(leaf.size for leaf in leaves)


def _basis(leaves: Sequence[Array], index: Array) -> list[Array]:
    """Return the unit vector of that number in the space of all leaves together."""
    ends = itertools.accumulate(leaf.size for leaf in leaves)
    return [
        (jnp.arange(leaf.size) + (end - leaf.size) == index).astype(leaf.dtype).reshape(leaf.shape)
        for leaf, end in zip(leaves, ends, strict=True)
    ]


def _divide(slope: Array, leaves: Sequence[Array], axis: int) -> list[Array]:
    """Cut an axis as long as all leaves together into one piece for each leaf."""
    ends = list(itertools.accumulate(leaf.size for leaf in leaves))
    return jnp.split(slope, ends[:-1], axis) if ends else []


def _assemble(
    blocks: Sequence[Sequence[Array]],
    moved: Sequence[Array],
    moving: Sequence[Array],
    source: Pattern,
    target: Pattern,
) -> PyTree:
    """Put blocks into the argument's tree inside the output's, with zeros for constants."""
    rows = iter(range(len(moved)))

    def row(moves: bool, spec: jax.ShapeDtypeStruct | None) -> PyTree:
        if moves:
            index = next(rows)
            shape = jnp.shape(moved[index])
            found = zip(blocks[index], moving, strict=True)
            return source.fill([part.reshape(shape + x.shape) for part, x in found], shape)[0]
        if spec is None:
            return None
        vanishing = [jnp.zeros(spec.shape + x.shape, x.dtype) for x in moving]
        return source.fill(vanishing, spec.shape)[0]

    leaves = map(row, target.moves, target.vanishing)
    return jax.tree.unflatten(target.treedef, list(leaves))
