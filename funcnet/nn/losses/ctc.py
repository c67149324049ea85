"""Losses over sequences, as layers."""

from funcnet.core.aliases import Array, ArrayLike
from funcnet.functional.losses.ctc import ctc_loss
from funcnet.nn.losses.base import LossLayer

__all__ = ["CTCLoss"]


class CTCLoss(LossLayer):
    """Negative log likelihood of label sequences, summed over all alignments with the inputs.

    ``-log Σ_a Π_t p_t(a_t)``, over the alignments ``a``: sequences with a label or a blank at each time, which yield
    the target when repetitions are merged and blanks are left out.

    Args:
        blank: the label that stands for none.
        reduction: ``"none"``, ``"sum"`` or ``"mean"``: divided by the target's length, then averaged.
        zero_infinity: whether targets that are too long for their inputs cost 0 instead of infinity.

    Example:
        >>> log_p = jnp.log(jnp.full((2, 1, 2), 0.5))
        >>> loss = nn.CTCLoss(reduction="none")(log_p, jnp.array([[1]]), [2], [1])
        >>> jnp.exp(-loss).round(2).tolist()
        [0.75]

    Reference: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891
    """

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def __call__(
        self,
        log_probs: Array,
        targets: Array,
        input_lengths: ArrayLike,
        target_lengths: ArrayLike,
        *,
        where: ArrayLike | None = None,
    ) -> Array:
        """Compare log-probabilities ``(T, N, C)`` with labels ``(N, S)`` or joined ones."""
        return ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
            where=where,
        )
