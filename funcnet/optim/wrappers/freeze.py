"""Parameters that stay as they are, by dotted path."""

from collections.abc import Iterable

from funcnet.optim.protocol import GradientTransformation, require_optimizer
from funcnet.optim.wrappers.groups import Groups, by_pattern, frozen

__all__ = ["freeze"]


def freeze(transformation: GradientTransformation, patterns: str | Iterable[str]) -> Groups:
    """Keep the leaves whose path matches as they are; they never reach the optimizer.

    Args:
        transformation: the optimizer of the others.
        patterns: a glob on dotted paths, or several.

    Returns:
        One transformation.

    Raises:
        ValueError: when used, if a pattern matches nothing.

    Example:
        >>> optimizer = optim.freeze(optim.adam(1e-3), "encoder.*")
        >>> params = {"encoder": {"w": jnp.ones(2)}, "head": {"w": jnp.ones(2)}}
        >>> list(optimizer.init(params)["*"].slots["exp_avg"])
        ['head.w']
    """
    require_optimizer("freeze", transformation)
    return by_pattern(frozen(), patterns, transformation)
