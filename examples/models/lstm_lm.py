"""A language model of LSTMs that takes the files of PyTorch's example ``word_language_model`` as they are.

    model = LSTMLM(LSTMConfig(vocab_size=10000))
    params, state = checkpoint.load_weights("model.safetensors", model)
    net = fn.functionalize(model)
    (logits, memory), _ = net.apply(params, state, tokens)
    (logits, memory), _ = net.apply(params, state, more_tokens, memory)   # the text goes on

Reference: Zaremba, Sutskever and Vinyals, Recurrent Neural Network Regularization, 2014,
https://arxiv.org/abs/1409.2329; tied weights: Press and Wolf, 2016, https://arxiv.org/abs/1608.05859.
"""

from dataclasses import dataclass

import jax

import funcnet as fn
from funcnet import nn

Memory = tuple[jax.Array, jax.Array]


@dataclass(frozen=True)
class LSTMConfig:
    """The sizes of a model; by default the medium one of the paper."""

    vocab_size: int = 10000
    embedding_size: int = 650
    hidden_size: int = 650
    layers: int = 2
    dropout: float = 0.5
    tied: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be tied."""
        if self.tied and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"a tied head needs as many embedded as hidden features; got {self.embedding_size} "
                f"and {self.hidden_size}"
            )


class LSTMLM(nn.Module):
    """An embedding, LSTM layers with dropout around each, and a linear head."""

    def __init__(self, config: LSTMConfig) -> None:
        start = nn.init.uniform(-0.1, 0.1)
        self.drop = nn.Dropout(config.dropout)
        self.encoder = nn.Embedding(config.vocab_size, config.embedding_size)
        self.encoder.weight = fn.Parameter((config.vocab_size, config.embedding_size), start)
        self.rnn = nn.LSTM(
            config.embedding_size,
            config.hidden_size,
            config.layers,
            batch_first=True,
            dropout=config.dropout,
        )
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.decoder.bias = fn.Parameter((config.vocab_size,), nn.init.zeros())
        self.decoder.weight = (
            self.encoder.weight  # tying is assignment
            if config.tied
            else fn.Parameter((config.vocab_size, config.hidden_size), start)
        )

    def __call__(self, tokens: jax.Array, memory: Memory | None = None) -> tuple[jax.Array, Memory]:
        """Read on, from an earlier memory or from nothing.

        Args:
            tokens: integers, ``(N, T)``.
            memory: the hidden and cell states after earlier tokens, each ``(layers, N, hidden_size)``.

        Returns:
            The next tokens' logits ``(N, T, vocab_size)``; the memory after the last token.
        """
        x, after = self.rnn(self.drop(self.encoder(tokens)), memory)
        return self.decoder(self.drop(x)), after
