"""Tell from which of Shakespeare's plays a speech is, with an LSTM that reads speeches of different lengths.

python examples/lstm_text.py
python examples/lstm_text.py --epochs 20 --words 128

What one learns: text to integers, padding that changes nothing (the LSTM is given each speech's length, and the mean
over time counts real words only), words left out at random against learning by heart, and metrics by class.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import data, nn

PADDING, UNKNOWN = 0, 1


def speeches() -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the plays' names, and all speeches of six words or more as (play, words)."""
    parts = re.split(r"\n([A-Z ,']+)\n\nby William Shakespeare\n", "\n" + data.shakespeare())
    found = []
    for play, text in enumerate(parts[2::2]):
        spoken = re.sub(r"\[[^\]]*\]", "", text)  # what is in brackets, actors do
        bodies = re.findall(r"(?<=\n\n)[A-Z][\w .']{1,24}[.:]?\n((?:[^\n]+\n)+)", spoken)
        words = [re.findall(r"[a-z']+", body.lower()) for body in bodies]
        found += [(play, speech) for speech in words if len(speech) >= 6]
    return [title.split(",")[0].title() for title in parts[1::2]], found


def encode(
    found: list[tuple[int, list[str]]], vocabulary: dict[str, int], longest: int
) -> data.ArrayDataset:
    """Make integers of words, padded to one length, with the number of those that are real."""
    words = np.full((len(found), longest), PADDING, np.int32)
    for row, (_, speech) in zip(words, found, strict=True):
        row[: len(speech)] = [vocabulary.get(word, UNKNOWN) for word in speech[:longest]]
    return data.ArrayDataset(
        {
            "words": words,
            "length": (words != PADDING).sum(1).astype(np.int32),
            "play": np.array([play for play, _ in found], np.int32),
        }
    )


class Reader(nn.Module):
    """An embedding, an LSTM that reads in both directions, the mean over real words, and a linear head."""

    def __init__(self, vocabulary: int, width: int, classes: int, forget: float) -> None:
        self.forget = forget
        self.words = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.dropout = nn.Dropout(0.5)
        self.lstm = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, classes)

    def __call__(self, words: jax.Array, length: jax.Array) -> jax.Array:
        """Map words ``(N, T)`` and lengths ``(N,)`` to logits ``(N, classes)``."""
        if self.training:
            forgotten = jax.random.bernoulli(self.next_key(), self.forget, words.shape)
            words = jnp.where(forgotten & (words != PADDING), UNKNOWN, words)
        read, _ = self.lstm(self.dropout(self.words(words)), lengths=length)
        mean = read.sum(1) / length[:, None]  # behind the last word the output is zero
        return self.head(self.dropout(mean))
