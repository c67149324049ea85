"""BLEU: how many n-grams of a translation are in its references, over a whole corpus."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array, PyTree
from funcnet.core.checks import check_choice, check_positive
from funcnet.training.metrics.base import Metric
from funcnet.training.metrics.classes import is_whole, row_mask
from funcnet.training.metrics.totals import Count

__all__ = ["BLEU"]

Tokenize = Callable[[str], Sequence[Any]]


@dataclass(frozen=True)
class BLEU(Metric):
    """The geometric mean of the shares of n-grams found in a reference, times a penalty for brevity, from 0 to 100.

    ``BLEU = 100 · min(1, exp(1 - r/c)) · (Π p_n)^(1/order)``, with ``c`` the tokens of all outputs, ``r`` those of the
    references next in length (of two as near, the shorter), ``p_n`` the share of outputs' n-grams that their references
    have, each as often as the reference with most of it. Zero if no token is right, or if no output is ``order`` long.

    Outputs are tokens ``(N, T)``, targets ``(N, T')`` or, of several references, ``(N, R, T')``; ``pad`` fills what is
    shorter, at the end. A reference of padding alone is none, if there are others. ``where`` ``(N,)`` marks the
    sentences that count. Comparing costs ``T · T'`` for each sentence and order. `update_texts` counts strings, on
    the host. ``nan`` before anything was counted.

    Args:
        order: the longest n-grams.
        smooth: what to do about orders of which nothing is right: ``"exp"``, the k-th counts as ``1 / 2^k`` n-grams;
            ``"floor"``, as 0.1; ``"none"``: zero.
        pad: the token that fills.

    Example:
        >>> metric = fn.training.metrics.BLEU(order=2)
        >>> outputs, targets = jnp.array([[5, 6, 7, 0]]), jnp.array([[5, 6, 8, 9]])
        >>> round(float(metric.measure(outputs, targets)), 2)
        41.37
        >>> state = metric.update_texts(metric.init(), ["a b c"], ["a b d e"])
        >>> round(float(metric.compute(state)), 2)
        41.37

    Reference: Papineni, Roukos, Ward and Zhu, BLEU: a Method for Automatic Evaluation of Machine Translation, 2002;
    Post, A Call for Clarity in Reporting BLEU Scores, 2018, https://arxiv.org/abs/1804.08771 (sacrebleu).
    """

    order: int = 4
    smooth: str = "exp"
    pad: int = 0

    def __post_init__(self) -> None:
        check_positive("order", self.order)
        check_choice("smooth", self.smooth, ("exp", "floor", "none"))

    def init(self) -> PyTree:
        """Return the state of nothing counted."""
        orders = {name: Count.zeros((self.order,)) for name in ("right", "all")}
        return orders | {name: Count.zeros() for name in ("length", "reference", "rows")}

    def update(self, state: PyTree, outputs: Any, targets: Any, where: Any = None) -> PyTree:
        """Count a batch of tokens."""
        outputs, targets = _tokens(outputs, targets)
        mask = row_mask("BLEU", where, outputs.shape[:1])
        counts = jax.vmap(self._sentence)(outputs, targets)
        counts = jax.tree.map(lambda part: _sum_where(mask, part), counts)
        counts["rows"] = mask.sum(dtype=jnp.int32)
        return {name: state[name].add(part) for name, part in counts.items()}

    def _sentence(self, output: Array, references: Array) -> dict[str, Array]:
        """Count one output ``(T,)`` against its references ``(R, T')``."""
        there, in_reference = output != self.pad, references != self.pad
        length, lengths = there.sum(dtype=jnp.int32), in_reference.sum(1, dtype=jnp.int32)
        own = (output[:, None] == output[None]) & there
        found = (output[None, :, None] == references[:, None]) & in_reference[:, None]
        right, number = [], []
        alike, in_them, begins = own, found, there
        for _ in range(self.order):
            # of equal n-grams, as many are right as one reference has
            earlier = (alike & jnp.tri(output.shape[0], k=-1, dtype=bool)).sum(1, dtype=jnp.int32)
            most = in_them.sum(2, dtype=jnp.int32).max(0)
            right.append((begins & (earlier < most)).sum(dtype=jnp.int32))
            number.append(begins.sum(dtype=jnp.int32))
            alike, in_them = own & _after(alike, (0, 1)), found & _after(in_them, (1, 2))
            begins = there & _after(begins, (0,))
        nearest = _nearest_length(length, lengths)
        return {
            "right": jnp.stack(right),
            "all": jnp.stack(number),
            "length": length,
            "reference": nearest,
        }

    def update_texts(
        self,
        state: PyTree,
        outputs: Sequence[str],
        targets: Sequence[str] | Sequence[Sequence[str]],
        tokenize: Tokenize = str.split,
    ) -> PyTree:
        """Count strings, on the host.

        Args:
            state: from `init` or an update.
            outputs: the translations.
            targets: for each a reference, or a list of them.
            tokenize: from a string to its tokens. sacrebleu's scores with ``tokenize="none"`` are those of
                ``str.split``.

        Raises:
            ValueError: there are not as many targets as outputs.
        """
        if isinstance(outputs, str) or len(outputs) != len(targets):
            raise ValueError(
                f"BLEU takes a list of strings and as many references, or lists of them; got {len(outputs)} and "
                f"{len(targets)}"
            )
        sums = {name: np.zeros(part.low.shape, np.int64) for name, part in state.items()}
        for text, references in zip(outputs, targets, strict=True):
            several = [references] if isinstance(references, str) else references
            wanted = [list(tokenize(reference)) for reference in several]
            for name, part in self._counted(list(tokenize(text)), wanted).items():
                sums[name] += part
        return {
            name: part.merge(Count(*(jnp.asarray(word, jnp.uint32) for word in _words(sums[name]))))
            for name, part in state.items()
        }

    def _counted(self, output: list[Any], references: list[list[Any]]) -> dict[str, Any]:
        right = np.zeros(self.order, np.int64)
        for place in range(self.order):
            own = _ngrams(output, place + 1)
            most: Counter[Any] = Counter()
            for reference in references:
                most |= _ngrams(reference, place + 1)
            right[place] = (own & most).total()
        number = np.maximum(len(output) - np.arange(self.order), 0)
        nearest = min((abs(len(one) - len(output)), len(one)) for one in references)[1]
        return {
            "right": right,
            "all": number,
            "length": len(output),
            "reference": nearest,
            "rows": 1,
        }

    def value(self, state: PyTree) -> Array:
        """Put the counts together."""
        right, number = state["right"].value(), state["all"].value()
        length, reference = state["length"].value(), state["reference"].value()
        missing = (right == 0) & (number > 0)
        if self.smooth == "exp":
            right = jnp.where(missing, 0.5 ** jnp.cumsum(missing).astype(jnp.float32), right)
        elif self.smooth == "floor":
            right = jnp.where(missing, 0.1, right)
        mean = jnp.exp(jnp.log(right / jnp.maximum(number, 1)).mean())
        penalty = jnp.where(length < reference, jnp.exp(1 - reference / jnp.maximum(length, 1)), 1)
        score = jnp.where(state["right"].value().sum() > 0, 100 * penalty * mean, 0)
        return jnp.where(state["rows"].value() > 0, score, jnp.nan)


def _tokens(outputs: Any, targets: Any) -> tuple[Array, Array]:
    """Check tokens, and give targets an axis of references."""
    outputs, targets = jnp.asarray(outputs), jnp.asarray(targets)
    if not (is_whole(outputs) and is_whole(targets)):
        raise TypeError(
            f"BLEU takes tokens as integers; outputs has dtype {outputs.dtype.name} and targets "
            f"{targets.dtype.name}. Of logits write jnp.argmax(logits, axis=-1)"
        )
    if outputs.ndim != 2 or targets.ndim not in (2, 3) or targets.shape[0] != outputs.shape[0]:
        raise ValueError(
            f"BLEU takes tokens (N, T) and references (N, T') or (N, R, T'); got {outputs.shape} and {targets.shape}"
        )
    # one dtype: tokens of different widths compare as int32
    return outputs.astype(jnp.int32), targets.astype(jnp.int32).reshape(
        targets.shape[0], -1, targets.shape[-1]
    )


def _sum_where(mask: Array, part: Array) -> Array:
    mask = mask.reshape(-1, *(1,) * (part.ndim - 1))
    return jnp.where(mask, part, 0).sum(0, dtype=jnp.int32)


def _after(array: Array, axes: tuple[int, ...]) -> Array:
    """Move everything one place to the front along some axes; nothing comes in at the end."""
    pads = [(0, 1) if axis in axes else (0, 0) for axis in range(array.ndim)]
    cut = tuple(slice(1, None) if axis in axes else slice(None) for axis in range(array.ndim))
    return jnp.pad(array, pads)[cut]


def _nearest_length(length: Array, lengths: Array) -> Array:
    """Return the length next to the output's; of two as near, the shorter; none of nothing, if there are others."""
    absent = (lengths == 0) & (lengths.max() > 0)
    apart = jnp.where(absent, jnp.iinfo(jnp.int32).max, jnp.abs(lengths - length))
    return jnp.where(apart == apart.min(), lengths, jnp.iinfo(jnp.int32).max).min()


def _ngrams(tokens: list[Any], order: int) -> Counter[Any]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _words(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split numbers into their lower and upper 32 bits."""
    return number & 0xFFFFFFFF, number >> 32
