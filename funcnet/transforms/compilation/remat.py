"""Less memory for a backward pass: intermediate values are computed again instead of kept."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import jax
from jax import ad_checkpoint

from funcnet.core.checks import check_choice
from funcnet.core.jax_internals.compilation import is_costly

__all__ = ["checkpoint", "checkpoint_name", "remat", "saving_policy"]

T = TypeVar("T")

Policy: TypeAlias = str | Callable[..., bool] | None
"""A name that `saving_policy` knows, one of ``jax.checkpoint_policies``, or ``None``."""

_POLICIES = (
    "costly",
    "dots",
    "dots_with_no_batch_dims",
    "everything",
    "names",
    "nothing",
    "offload",
)


def checkpoint_name(x: T, name: str) -> T:
    """Mark values by a name that the policies ``"names"`` and ``"offload"`` of `remat` refer to.

    Without such a policy it does nothing, and derivatives pass through it.

    Args:
        x: an array or a pytree of them.
        name: any text; several places may share one.

    Returns:
        ``x``, marked.

    Example:
        >>> def block(x):
        ...     kept = transforms.checkpoint_name(jnp.sin(x), "sine")
        ...     return jnp.sin(kept)
        >>> block = transforms.remat(block, policy="names", names="sine")
        >>> round(float(transforms.grad(block)(0.5)), 4)
        0.7786
    """
    return ad_checkpoint.checkpoint_name(x, name)


def saving_policy(policy: str, names: str | Iterable[str] = ()) -> Callable[..., bool]:
    """Return JAX's checkpoint policy of that name: which intermediate values to keep.

    Args:
        policy: ``"nothing"`` keeps only the inputs; ``"everything"`` keeps all; ``"dots"`` keeps
            results of matrix products; ``"dots_with_no_batch_dims"`` those of products with
            weights, but not attention scores; ``"costly"`` keeps those, convolutions, factorizations
            and values marked with `checkpoint_name`; ``"names"`` keeps values marked so alone;
            ``"offload"`` moves those to the host's memory meanwhile.
        names: the names for ``"names"`` and ``"offload"``.

    Returns:
        A policy for `jax.checkpoint`.

    Raises:
        ValueError: no policy has that name, or names are missing or not wanted.

    >>> policy = transforms.saving_policy("names", "attention")
    """
    check_choice("policy", policy, _POLICIES)
    names = [names] if isinstance(names, str) else list(names)
    if (policy in ("names", "offload")) != bool(names):
        raise ValueError(
            f"names={names} does not fit policy={policy!r}: policies 'names' and 'offload' need "
            "the names of values marked with checkpoint_name(value, name); others take none"
        )
    known = jax.checkpoint_policies
    if policy == "names":
        return known.save_only_these_names(*names)
    if policy == "offload":
        return known.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=names,
            offload_src="device",
            offload_dst="pinned_host",
        )
    return {
        "costly": is_costly,
        "dots": known.dots_saveable,
        "dots_with_no_batch_dims": known.dots_with_no_batch_dims_saveable,
        "everything": known.everything_saveable,
        "nothing": known.nothing_saveable,
    }[policy]


def remat(
    fun: Callable[..., Any] | None = None,
    *,
    policy: Policy = None,
    names: str | Iterable[str] = (),
    **options: Any,
) -> Callable[..., Any]:
    """Keep few of ``fun``'s intermediate values for the backward pass and compute the rest again.

    As `jax.remat`, with policies by name. Values and gradients are the same; memory falls and time
    rises. It has JAX's other name too, ``transforms.checkpoint``; ``fn.checkpoint`` is the folder that
    saves models.

    Args:
        fun: the function; without it, ``remat(...)`` is a decorator.
        policy: what to keep: a name (see `saving_policy`), a policy of
            ``jax.checkpoint_policies``, or ``None`` to keep only the inputs.
        names: the marked values to keep, for the policies ``"names"`` and ``"offload"``.
        **options: passed on to `jax.checkpoint`: ``prevent_cse``, ``static_argnums``, ….

    Returns:
        A function with the same arguments, values and derivatives.

    Raises:
        ValueError: no policy has that name, or names are missing or not wanted.

    >>> block = transforms.remat(lambda x: jnp.sin(jnp.sin(x)), policy="nothing")
    >>> round(float(transforms.grad(block)(0.5)), 4)
    0.7786

    Reference: Chen et al., 2016, "Training deep nets with sublinear memory cost".
    """
    if fun is None:
        return lambda function: remat(function, policy=policy, names=names, **options)
    chosen = saving_policy(policy, names) if isinstance(policy, str) else policy
    return jax.checkpoint(fun, policy=chosen, **options)


# JAX has both names. `funcnet` itself has only `remat`, because `funcnet.checkpoint` is the folder.
checkpoint = remat
