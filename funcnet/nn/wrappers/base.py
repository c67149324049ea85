"""What the wrappers that run a module under a transform share."""

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Key, PyTree
from funcnet.module import Module
from funcnet.transforms.compilation.remat import saving_policy

__all__ = ["ModuleWrapper", "axis_size", "check_same_structure", "keeping", "policy_of"]

Keep: TypeAlias = bool | str | Callable[..., bool]
"""What a loop over blocks computes again: all, nothing, or what a policy does not keep."""


class ModuleWrapper(Module):
    """What the wrappers share: an inner module.

    A wrapper runs it under a transform as a `TransformedPart`, a pure function, with a key for each step: the
    misuse that `TransformScopeError` describes, done right once.
    """

    module: Module

    @property
    def part_names(self) -> dict[str, str | int]:
        """How the inner module appears in names on disk: not at all, or with a number for each copy."""
        return {"module": ""}

    def keys(self, count: int | None = None) -> Key | None:
        """Draw a key, or an array of them; None where the model was given none."""
        if not self.has_key:
            return None
        key = self.next_key()
        return key if count is None else jax.random.split(key, count)


def axis_size(layer: str, tree: PyTree, axis: int) -> int:
    """Return the length that all arrays of a tree have along an axis."""
    sizes = {leaf.shape[axis] for leaf in jax.tree.leaves(tree)}
    if len(sizes) != 1:
        raise ValueError(
            f"{layer} needs inputs of one length along axis {axis}; got {sorted(sizes)}"
        )
    return sizes.pop()


def check_same_structure(layer: str, new: PyTree, old: PyTree) -> None:
    """Raise unless a value that goes from step to step keeps its structure, shapes and dtypes."""

    def kinds(tree: PyTree) -> Any:
        return jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x).name), tree)

    if kinds(new) != kinds(old):
        raise ValueError(
            f"{layer}: what one step returns must be like what it is given; it was given {kinds(old)} and returned "
            f"{kinds(new)}"
        )


def policy_of(layer: str, remat: Keep) -> Callable[..., bool] | None:
    """Return the policy of `jax.checkpoint` that ``remat`` stands for; None to keep everything.

    Raises:
        TypeError: it is no bool, name or policy.
        ValueError: no policy has that name.
    """
    if isinstance(remat, bool):
        return saving_policy("nothing") if remat else None
    if isinstance(remat, str):
        try:
            return saving_policy(remat)
        except ValueError as error:
            raise ValueError(f"{layer}: remat={remat!r} is no policy: {error}") from None
    if not callable(remat):
        raise TypeError(
            f"{layer}: give True (compute everything again), False (nothing), 'costly' (what is cheap) or a "
            f"policy of jax.checkpoint_policies; got {remat!r}"
        )
    return remat


def keeping(body: Callable[..., Any], policy: Callable[..., bool] | None) -> Callable[..., Any]:
    """Return the body of a loop, which for its gradient computes again what a policy does not keep."""
    # a loop's body is compiled apart from its backward pass: nothing has to keep the two from merging
    return body if policy is None else jax.checkpoint(body, prevent_cse=False, policy=policy)
