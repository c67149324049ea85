"""A transformation for some of the leaves only, by dotted path."""

from collections.abc import Iterable

from funcnet.optim.protocol import GradientTransformation, identity, require_optimizer
from funcnet.optim.wrappers.groups import Groups, by_pattern

__all__ = ["mask"]


def mask(transformation: GradientTransformation, patterns: str | Iterable[str]) -> Groups:
    """Apply a transformation to the leaves whose path matches; pass the others on unchanged.

    Args:
        transformation: any transformation.
        patterns: a glob on dotted paths, or several.

    Returns:
        One transformation.

    Raises:
        ValueError: when used, if a pattern matches nothing.

    Example:
        >>> decay = optim.mask(optim.add_decayed_weights(0.5), "*.weight")
        >>> params = {"fc": {"weight": jnp.ones(1), "bias": jnp.ones(1)}}
        >>> updates, _ = decay.update(params, decay.init(params), params)
        >>> updates["fc"]["weight"].tolist(), updates["fc"]["bias"].tolist()
        ([1.5], [1.0])
    """
    require_optimizer("mask", transformation)
    return by_pattern(transformation, patterns, identity())
