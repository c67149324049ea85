"""An error instead of a derivative of zero where an output does not depend on an argument."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax

from funcnet.core.jax_internals.programs import Operation, Program, trace, walk
from funcnet.core.leaf_kinds import is_trainable
from funcnet.core.paths import join, leaves_with_paths
from funcnet.transforms.arguments import argument_path, wraps
from funcnet.transforms.derivatives.linear_map import flattened
from funcnet.transforms.differentiable_leaves import split

__all__ = ["strict"]


def strict(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fun``, made to raise an error where no output depends on an argument.

    It raises while tracing: for an argument's leaf that no output depends on differentiably, and for an
    output that depends on no argument so. The derivative there would be zero without a warning. Put it
    inside the derivative: ``grad(strict(loss))``. It follows the function's linearisation, so it costs
    nothing when compiled; a loop or branch as a whole is taken to connect all that goes in with all that
    comes out. PyTorch's ``strict=True`` in ``torch.autograd.functional``; that of its ``hessian``, ``hvp``
    and ``vhp``, where the gradient has to depend on the argument too, is ``strict(grad(strict(loss)))``.

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

        program, _ = trace(slopes, moving, moving)
        named = leaves_with_paths(args)
        inputs = [argument_path(fun, name) for name, leaf in named if is_trainable(leaf)]
        _complain(_reached(program, len(moving)), inputs, outputs)
        return fun(*args, **kwargs)

    return checked


def _complain(reached: list[int], inputs: list[str], outputs: list[str]) -> None:
    """Raise for inputs that reach no output and outputs that no input reaches."""
    together = functools.reduce(operator.or_, reached, 0)
    lost = [name for index, name in enumerate(inputs) if not together >> index & 1]
    if lost:
        raise ValueError(f"no output depends on {', '.join(lost)}")
    free = [join("output", name) for name, bits in zip(outputs, reached, strict=True) if not bits]
    if free:
        raise ValueError(f"no argument is differentiably connected to {', '.join(free)}")


def _reached(program: Program, count: int) -> list[int]:
    """Return, for each result, a bit for each of the last ``count`` arguments that it depends on."""

    def joined(operation: Operation, operands: list[int]) -> list[int]:
        called = operation.called
        if called is not None:
            return walk(called, operands, joined, constant=lambda _: 0)
        union = functools.reduce(operator.or_, operands, 0)
        return [union] * len(operation.results)

    bits = [0] * (len(program.arguments) - count) + [1 << index for index in range(count)]
    return walk(program, bits, joined, constant=lambda _: 0)
