"""DropBlock as layers: in training they draw a key and zero blocks of feature maps."""

from collections.abc import Callable
from typing import Any, ClassVar

from funcnet.core.aliases import Array
from funcnet.functional.regularization.drop_block import (
    check_block,
    drop_block1d,
    drop_block2d,
    drop_block3d,
)
from funcnet.module import Module

__all__ = ["DropBlock1d", "DropBlock2d", "DropBlock3d"]


class _DropBlock(Module):
    function: ClassVar[Callable[..., Array]]

    def __init_subclass__(cls, function: Callable[..., Array] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if function is not None:
            cls.function = staticmethod(function)

    def __init__(self, p: float, block_size: int, *, eps: float = 1e-06) -> None:
        check_block(p, block_size)
        self.p = p
        self.block_size = block_size
        self.eps = eps

    def __call__(self, input: Array) -> Array:
        """Zero random blocks of the input in training; return it as it is otherwise."""
        key = self.next_key() if self.training and self.p > 0 else None
        settings: dict[str, Any] = {"eps": self.eps, "training": self.training, "key": key}
        return self.function(input, self.p, self.block_size, **settings)


class DropBlock1d(_DropBlock, function=drop_block1d):
    """Zero blocks of each channel of ``(N, C, L)`` or ``(C, L)`` in training.

    Args:
        p: about the share of places that are zeroed.
        block_size: length of a block.
        eps: keeps the scale finite where all is zeroed.

    Raises:
        ValueError: ``p`` is not a probability, or ``block_size`` is not positive.

    Example:
        >>> model = fn.bind(nn.DropBlock1d(0.1, 5), {}, {}, train=True, key=jax.random.key(0))
        >>> model(jnp.ones((2, 3, 16))).shape
        (2, 3, 16)

    Reference: Ghiasi et al., 2018, https://arxiv.org/abs/1810.12890.
    """


class DropBlock2d(_DropBlock, function=drop_block2d):
    """Zero square blocks of each channel of ``(N, C, H, W)`` or ``(C, H, W)`` in training.

    Args:
        p: about the share of places that are zeroed.
        block_size: side of a block.
        eps: keeps the scale finite where all is zeroed.

    Raises:
        ValueError: ``p`` is not a probability, or ``block_size`` is not positive.

    Example:
        >>> model = fn.bind(nn.DropBlock2d(0.1, 7), {}, {}, train=True, key=jax.random.key(0))
        >>> round(float(model(jnp.ones((2, 3, 16, 16))).mean()), 3)
        1.0

    Reference: Ghiasi et al., 2018, https://arxiv.org/abs/1810.12890; ``torchvision.ops.DropBlock2d``.
    """


class DropBlock3d(_DropBlock, function=drop_block3d):
    """Zero cubes of each channel of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` in training.

    Args:
        p: about the share of places that are zeroed.
        block_size: side of a block.
        eps: keeps the scale finite where all is zeroed.

    Raises:
        ValueError: ``p`` is not a probability, or ``block_size`` is not positive.

    Example:
        >>> model = fn.bind(nn.DropBlock3d(0.1, 3), {}, {}, train=True, key=jax.random.key(0))
        >>> model(jnp.ones((2, 3, 8, 8, 8))).shape
        (2, 3, 8, 8, 8)

    Reference: Ghiasi et al., 2018, https://arxiv.org/abs/1810.12890; ``torchvision.ops.DropBlock3d``.
    """
