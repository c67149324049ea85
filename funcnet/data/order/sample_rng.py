"""The randomness of a sample: a NumPy generator that depends on (seed, epoch, index) alone."""

import numpy as np

__all__ = ["SampleRng"]


class SampleRng:
    """The generator of one sample, made when the first random transform asks for it.

    All transforms of a sample share it, in their order, whatever worker runs them.

    Args:
        *entropy: non-negative integers: ``(seed, epoch, index)`` for a sample, and one more for a
            batch, so that no batch has the generator of a sample.

    Example:
        >>> from funcnet.data.order.sample_rng import SampleRng
        >>> SampleRng(0, 1, 2).generator.random() == SampleRng(0, 1, 2).generator.random()
        True
    """

    __slots__ = ("_entropy", "_generator", "failed_transform")

    def __init__(self, *entropy: int) -> None:
        self._entropy = entropy
        self._generator: np.random.Generator | None = None
        # The generator goes through all transforms of its sample, so it is also where the one that
        # fails leaves its name: the error that the user sees is made further out.
        self.failed_transform: str | None = None

    @property
    def index(self) -> int:
        """The index of the sample in its dataset."""
        return self._entropy[2]

    @property
    def generator(self) -> np.random.Generator:
        """The generator, the same object at every access."""
        # Most samples never ask, and a generator takes longer to make than many samples to read.
        if self._generator is None:
            entropy = np.random.SeedSequence(self._entropy)
            self._generator = np.random.Generator(np.random.PCG64(entropy))
        return self._generator
