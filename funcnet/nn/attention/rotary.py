"""Rotary position embeddings as a layer without parameters."""

from funcnet.core.aliases import Array, ArrayLike
from funcnet.functional.attention.rotary import rotary_embedding, rotary_frequencies
from funcnet.module import Module

__all__ = ["RotaryEmbedding"]


class RotaryEmbedding(Module):
    """Turn pairs of features by angles proportional to position, as `funcnet.functional.rotary_embedding` does.

    The pair ``(a, b)`` becomes ``(a cos φ - b sin φ, b cos φ + a sin φ)``, where
    ``φ = position * base ** (-2 i / dim)``.

    Input ``(*, L, E)``, output likewise: the first ``dim`` of the ``E`` features turn.

    Args:
        dim: number of features to turn, even; usually those of a head.
        base: of the frequencies ``base ** (-2 i / dim)``.
        interleaved: pairs are neighbours rather than halves.
        scaling: ``"none"``, ``"linear"``, ``"ntk"`` or ``"llama3"``; see
            `funcnet.functional.rotary_frequencies`, also for the next four.
        factor: how many times longer than in training sequences become.
        original_length: length that the model was trained on.
        low_freq_factor: of ``"llama3"``.
        high_freq_factor: of ``"llama3"``.

    Raises:
        ValueError: ``dim`` is odd, a number is not positive, or the scaling is unknown.

    Example:
        >>> rotary = nn.RotaryEmbedding(8, base=500000.0)
        >>> rotary(jnp.ones((2, 4, 10, 8)), offset=3).shape
        (2, 4, 10, 8)

    Reference: Su et al., RoFormer, 2021, https://arxiv.org/abs/2104.09864.
    """

    def __init__(
        self,
        dim: int,
        base: float = 10000.0,
        *,
        interleaved: bool = False,
        scaling: str = "none",
        factor: float = 1.0,
        original_length: int = 8192,
        low_freq_factor: float = 1.0,
        high_freq_factor: float = 4.0,
    ) -> None:
        self.dim = dim
        self.base = base
        self.interleaved = interleaved
        self.scaling = scaling
        self.factor = factor
        self.frequencies = rotary_frequencies(
            dim,
            base,
            scaling=scaling,
            factor=factor,
            original_length=original_length,
            low_freq_factor=low_freq_factor,
            high_freq_factor=high_freq_factor,
        )

    def __call__(
        self, input: Array, positions: Array | None = None, *, offset: ArrayLike = 0
    ) -> Array:
        """Turn the features of each position; see `funcnet.functional.rotary_embedding`."""
        return rotary_embedding(
            input,
            positions,
            offset=offset,
            frequencies=self.frequencies,
            interleaved=self.interleaved,
        )
