"""Strictness: a derivative that is zero because nothing was connected is an error, not a zero."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core

from funcnet.core.paths import join, leaves_with_paths
from funcnet.transforms.arguments import argument_path, wraps
from funcnet.transforms.derivatives.jvp import flattened
from funcnet.transforms.differentiable_leaves import is_differentiable, split
from funcnet.transforms.jaxprs import called

__all__ = ["strict"]


def strict(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fun``, made to raise while tracing if a derivative would be zero by disconnection.

    That is: an argument's leaf that no output depends on differentiably, or an output that depends
    on no argument so. Put it inside the derivative: ``grad(strict(loss))``. Found by following the
    function's linearisation, so it costs nothing when compiled; a loop or branch as a whole is taken to
    connect all that goes in with all that comes out. PyTorch's ``strict=True`` in
    ``torch.autograd.functional``; that of its ``hessian``, ``hvp`` and ``vhp``, for which the gradient has
    to depend on the argument too, is ``strict(grad(strict(loss)))``.

    Args:
        fun: any function of arrays; integer leaves are no cause for complaint. Arguments passed by
            name are not looked at.

    Returns:
        A function of the same arguments and outputs.

    Raises:
        ValueError: when called; the message lists the paths of leaves that are not connected.

    >>> loss = lambda params: params["used"] ** 2
    >>> transforms.strict(loss)({"used": 1.0, "forgotten": 2.0})
    Traceback (most recent call last):
    ValueError: no output depends on params.forgotten
    """

    @wraps(fun)
    def checked(*args: Any, **kwargs: Any) -> Any:
        pattern, moving, constants = split(args)
        call = lambda *args: fun(*args, **kwargs)  # noqa: E731
        flat = flattened(call, pattern, constants, has_aux=False, single=False)
        outputs: list[str] = []

        def slopes(moving: list[Any], directions: list[Any]) -> list[Any]:
            _, slopes, (target, rest, _) = jax.jvp(flat, (moving,), (directions,), has_aux=True)
            named = leaves_with_paths(target.join(slopes, rest))
            outputs.extend(name for (name, _), m in zip(named, target.moves, strict=True) if m)
            return slopes

        closed = jax.make_jaxpr(slopes)(moving, moving)
        named = leaves_with_paths(args)
        inputs = [argument_path(fun, name) for name, leaf in named if is_differentiable(leaf)]
        _complain(_reached(closed.jaxpr, len(moving)), inputs, outputs)
        return fun(*args, **kwargs)

    return checked


def _complain(reached: list[int], inputs: list[str], outputs: list[str]) -> None:
    """Raise for inputs that reach no output and outputs that no input reaches."""
    together = 0
    for bits in reached:
        together |= bits
    lost = [name for index, name in enumerate(inputs) if not together >> index & 1]
    if lost:
        raise ValueError(f"no output depends on {', '.join(lost)}")
    free = [join("output", name) for name, bits in zip(outputs, reached, strict=True) if not bits]
    if free:
        raise ValueError(f"no argument is differentiably connected to {', '.join(free)}")


def _reached(jaxpr: core.Jaxpr, count: int) -> list[int]:
    """Return, for each output, a bit for each of the last ``count`` inputs that it depends on."""
    first = len(jaxpr.invars) - count
    bits = [0] * first + [1 << index for index in range(count)]
    return _follow(jaxpr, bits)


def _follow(jaxpr: core.Jaxpr, bits: list[int]) -> list[int]:
    known: dict[Any, int] = dict(zip(jaxpr.invars, bits, strict=True))

    def look_up(atom: Any) -> int:
        return 0 if isinstance(atom, core.Literal) else known.get(atom, 0)

    for equation in jaxpr.eqns:
        incoming = [look_up(atom) for atom in equation.invars]
        inner = called(equation)
        if inner is not None:
            outgoing = _follow(inner[0], incoming)
        else:
            union = 0
            for each in incoming:
                union |= each
            outgoing = [union] * len(equation.outvars)
        known.update(zip(equation.outvars, outgoing, strict=True))
    return [look_up(atom) for atom in jaxpr.outvars]
