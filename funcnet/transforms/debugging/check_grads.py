"""Derivatives compared with finite differences, in forward and reverse mode and in any order."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice, check_positive
from funcnet.core.leaf_kinds import is_trainable
from funcnet.core.paths import join, leaves_with_paths
from funcnet.transforms.arguments import argument_path
from funcnet.transforms.derivatives.linear_map import flattened
from funcnet.transforms.differentiable_leaves import split

__all__ = ["check_grads"]

_Moving = list[Any]
_Function = Callable[[_Moving], _Moving]


def check_grads(
    fun: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: str | Sequence[str] = ("fwd", "rev"),
    *,
    eps: float | None = None,
    atol: float | None = None,
    rtol: float | None = None,
    seed: int = 0,
) -> None:
    r"""Raise unless ``fun``'s derivatives agree with finite differences.

    Along a random direction ``v`` in each leaf and for a random cotangent ``w``,

    .. math:: \frac{f(x + \epsilon v) - f(x - \epsilon v)}{2 \epsilon} \approx \partial f(x)\, v,
              \qquad \operatorname{Re} \langle w, \partial f(x)\, v\rangle
              \approx \operatorname{Re} \langle w\, \partial f(x), v\rangle

    and likewise for the derivatives themselves up to ``order``. Complex leaves and outputs are
    checked as pairs of reals, so ``fun`` need not be holomorphic. In 32 bits the differences are
    coarse: check under ``jax.enable_x64(True)``.

    Args:
        fun: any function of arrays; integer leaves are constants.
        args: where to check it, a tuple.
        order: the highest derivative to check.
        modes: ``"fwd"``, ``"rev"``, or a sequence of both.
        eps: the step; the cube root of the type's precision by default.
        atol: the absolute tolerance; from the step by default.
        rtol: the relative tolerance; from the step by default.
        seed: for the directions.

    Raises:
        AssertionError: the message names the leaf, the mode, the order and both values.

    >>> transforms.check_grads(lambda p: jnp.sin(p["x"]).sum(), ({"x": jnp.array([1.0, 2.0])},))
    """
    check_positive("order", order)
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    for mode in modes:
        check_choice("mode", mode, ("fwd", "rev"))
    pattern, moving, constants = split(tuple(args))
    flat = flattened(fun, pattern, constants, has_aux=False, single=False)
    named = leaves_with_paths(tuple(args))
    names = [argument_path(fun, name) for name, leaf in named if is_trainable(leaf)]
    moving = [jnp.asarray(leaf) for leaf in moving]
    precision = max((float(jnp.finfo(leaf.dtype).eps) for leaf in moving), default=1e-16)
    step = precision ** (1 / 3) if eps is None else eps
    # the differences err by about the step squared; twenty steps leave room for steep higher derivatives, and
    # are less than a wrong sign, factor or term makes
    check = _Check(
        np.random.default_rng(seed),
        names,
        modes,
        step,
        20 * step if atol is None else atol,
        20 * step if rtol is None else rtol,
    )
    check.run(lambda moving: flat(moving)[0], moving, order, "")


class _Check:
    """The settings of one check, and the recursion over orders."""

    def __init__(
        self,
        rng: np.random.Generator,
        names: list[str],
        modes: tuple[str, ...],
        step: float,
        atol: float,
        rtol: float,
    ):
        self.rng, self.names, self.modes = rng, names, modes
        self.step, self.atol, self.rtol = step, atol, rtol

    def run(self, fun: _Function, moving: _Moving, order: int, history: str) -> None:
        """Check the first derivative in each mode, then those derivatives' own."""
        fun = jax.jit(fun)
        outputs = fun(moving)
        forward = jax.jit(lambda moving, v: jax.jvp(fun, (moving,), (v,))[1])
        backward = jax.jit(lambda moving, w: jax.vjp(fun, moving)[1](w)[0])
        w = [self._normal(leaf) for leaf in outputs]
        for name, v in self._directions(moving):
            numeric = self._differences(fun, moving, v)
            if "fwd" in self.modes:
                for found, expected in zip(forward(moving, v), numeric, strict=True):
                    self._compare(found, expected, join(history, "fwd"), name)
            if "rev" in self.modes:
                found = _pairing(backward(moving, w), v)
                self._compare(found, _pairing(w, numeric), join(history, "rev"), name)
        if order == 1:
            return
        v = [self._normal(leaf) for leaf in moving]
        if "fwd" in self.modes:
            self.run(lambda moving: forward(moving, v), moving, order - 1, join(history, "fwd"))
        if "rev" in self.modes:
            self.run(lambda moving: backward(moving, w), moving, order - 1, join(history, "rev"))

    def _directions(self, moving: _Moving) -> Iterator[tuple[str, _Moving]]:
        """Yield for each leaf a direction in it alone."""
        for index, (name, leaf) in enumerate(zip(self.names, moving, strict=True)):
            if leaf.size:
                zeros = [jnp.zeros_like(other) for other in moving]
                zeros[index] = self._normal(leaf)
                yield name, zeros

    def _normal(self, like: Array) -> Array:
        draw = self.rng.normal(size=like.shape)
        if jnp.issubdtype(like.dtype, jnp.complexfloating):
            draw = draw + 1j * self.rng.normal(size=like.shape)
        return jnp.asarray(draw, like.dtype)

    def _differences(self, fun: _Function, moving: _Moving, v: _Moving) -> _Moving:
        def moved(by: float) -> _Moving:
            return fun([x + jnp.asarray(by, x.dtype) * d for x, d in zip(moving, v, strict=True)])

        ahead, behind = moved(self.step), moved(-self.step)
        return [
            (a - b) / jnp.asarray(2 * self.step, a.dtype)
            for a, b in zip(ahead, behind, strict=True)
        ]

    def _compare(self, found: Any, expected: Any, mode: str, name: str) -> None:
        if np.allclose(found, expected, rtol=self.rtol, atol=self.atol):
            return
        orders = mode.split(".")
        raise AssertionError(
            f"derivative {len(orders)} ({' of '.join(reversed(orders))}) along {name} differs from "
            f"finite differences:\n  derivative  {np.asarray(found)}\n  differences "
            f"{np.asarray(expected)}\n(step {self.step:.1e}, atol {self.atol:.1e}, rtol "
            f"{self.rtol:.1e})"
        )


def _pairing(left: _Moving, right: _Moving) -> Any:
    return sum(
        np.real(np.sum(np.asarray(a) * np.asarray(b))) for a, b in zip(left, right, strict=True)
    )
