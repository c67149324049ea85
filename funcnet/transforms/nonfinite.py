"""A guard around a step: silent while numbers are finite, precise about the first that is not."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from funcnet.core.aliases import Array
from funcnet.core.errors import NonFiniteError
from funcnet.core.paths import leaves_with_paths
from funcnet.transforms.arguments import argument_path, wraps
from funcnet.transforms.blame import Blame, Site, first_non_finite, flags_of

__all__ = ["Blame", "Site", "nan_guard"]


def nan_guard(
    fun: Callable[..., Any],
    report: Callable[[Blame], Any] | None = None,
    *,
    step: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Return ``fun`` with a watch on its outputs that says where the first NaN came from.

    The outputs are checked for NaN and infinity. Only when the check fails is the function run
    again, operation by operation, from the same arguments, inside the same compiled program: so
    it works under `jit` and with donated arguments, and a healthy step pays for the check alone
    (and, once, for compiling the second run). The report names the operation, the module's path
    (its ``jax.named_scope``), forward or backward pass, and the line of source.

    Guard the outermost function, the whole training step: a gradient taken of a guarded function
    is not watched itself.

    Args:
        fun: any function of arrays, such as a training step.
        report: called on the host with a `Blame`; by default `NonFiniteError` is raised, which
            arrives as a ``jax.errors.JaxRuntimeError`` where the result is waited for.
        step: picks the number of the step out of the arguments, for the message.

    Returns:
        A function of the same arguments with the same outputs.

    >>> blames = []
    >>> guarded = transforms.jit(transforms.nan_guard(lambda x: jnp.log(x) * 2, blames.append))
    >>> _ = guarded(jnp.array([1.0, 0.0])), jax.effects_barrier()
    >>> blames[0].kind, blames[0].site.operation
    ('infinity', 'log')
    """
    tell = _raise if report is None else report

    @wraps(fun)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        leaves, treedef = jax.tree.flatten((args, kwargs))
        traced = [_is_traceable(leaf) for leaf in leaves]
        arrays = [leaf for leaf, keep in zip(leaves, traced, strict=True) if keep]

        def of_arrays(*arrays: Any) -> Any:
            parts = iter(arrays)
            filled = [next(parts) if k else leaf for leaf, k in zip(leaves, traced, strict=True)]
            args, kwargs = jax.tree.unflatten(treedef, filled)
            return fun(*args, **kwargs)

        closed, shape = jax.make_jaxpr(of_arrays, return_shape=True)(*arrays)
        outputs = core.jaxpr_as_fun(closed)(*arrays)
        number = jnp.int32(-1) if step is None else jnp.asarray(step(*args, **kwargs), jnp.int32)
        names = [path for path, _ in leaves_with_paths((args, kwargs))]
        names = [_argument_name(fun, name) for name, k in zip(names, traced, strict=True) if k]
        _watch(closed, arrays, outputs, names, number, tell)
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)

    return guarded


def _watch(
    closed: core.ClosedJaxpr,
    arrays: list[Any],
    outputs: list[Any],
    names: list[str],
    number: Array,
    tell: Callable[[Blame], Any],
) -> None:
    """Search for the culprit, in a branch that is taken only when an output is not finite."""
    checked = [x for x in outputs if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]
    if not checked:
        return
    sites: list[Site] = []

    healthy = jnp.stack([jnp.isfinite(x).all() for x in checked]).all()

    def blame(healthy: Any, code: Any, turn: Any, argument: Any, number: Any) -> None:
        if not healthy:  # under vmap both branches run, for every example
            tell(_blame(sites, names, int(code), int(turn), int(argument), int(number)))

    def search() -> None:
        found = first_non_finite(closed, arrays, sites)
        argument = _first_argument(arrays)
        jax.debug.callback(blame, healthy, found.code, found.turn, argument, number)

    jax.lax.cond(healthy, lambda: None, search)


def _first_argument(arrays: list[Any]) -> Array:
    """Return ``2 * index + (1 if NaN)`` of the first argument that is not finite, or -1."""
    first = jnp.int32(-1)
    for index, value in enumerate(arrays):
        flags = flags_of(value)
        if flags is not None:
            code = jnp.int32(2 * index) + flags.nan.astype(jnp.int32)
            first = jnp.where((first < 0) & (flags.nan | flags.infinite), code, first)
    return first


def _blame(
    sites: list[Site], names: list[str], code: int, turn: int, argument: int, number: int
) -> Blame:
    """Put numbers that came back from the device into words."""
    step = None if number < 0 else number
    # an infinity may be meant (a mask); a NaN among the arguments never is
    if argument >= 0 and (argument % 2 or code < 0):
        return Blame(_kind(argument), None, names[argument // 2], step=step)
    if code < 0:
        return Blame("NaN or infinity", None, step=step)
    return Blame(_kind(code), sites[code // 2], turn=None if turn < 0 else turn, step=step)


def _kind(code: int) -> str:
    return "NaN" if code % 2 else "infinity"


def _raise(blame: Blame) -> None:
    raise NonFiniteError(str(blame))


def _is_traceable(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int | complex)


def _argument_name(fun: Callable[..., Any], path: str) -> str:
    """Turn the path of a leaf of ``(args, kwargs)`` into one that begins with the argument's name."""
    kind, _, rest = path.partition(".")
    return rest if kind == "1" else argument_path(fun, rest)
