"""Over which axes of a mesh an array varies inside `jax.shard_map`."""

from typing import Any

import jax

__all__ = ["varying_axes"]


def varying_axes(array: Any) -> frozenset[str]:
    """Return the axes of a mesh over which devices hold different parts of an array.

    Empty outside of `jax.shard_map`, and inside of one with ``check_vma=False``, which does not know.

    Why: a random key that is the same on all devices must not give each part of a batch the same numbers. The
    name of this attribute has changed between releases. When it goes away: fold the place on every manual
    axis into keys.

    >>> from funcnet.core.jax_internals.varying_axes import varying_axes
    >>> varying_axes(jnp.ones(3))
    frozenset()
    """
    kind = jax.typeof(array)
    manual = getattr(kind, "manual_axis_type", None)
    return kind.vma if manual is None else manual.varying
