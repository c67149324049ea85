"""BERT: a transformer that reads in both directions and takes Hugging Face's files as they are.

    config = read_config(BertConfig, "config.json")
    model = Bert(config)
    params, state = checkpoint.load_weights("model.safetensors", model)   # files of `BertModel`
    hidden, pooled = fn.functionalize(model).apply(params, state, tokens, mask)[0]
    vectors, _ = fn.functionalize(model.embed).apply(params, state, tokens, mask)   # one a sentence

Files of `BertForPreTraining` have names that begin with ``bert.``, and a head beside them: `RENAME` is for these, and
`RENAME_OLDEST` for those that call the arrays of a layer norm gamma and beta. Some files also hold the numbers of
the positions, which are not needed here: ``rename={"embeddings.position_ids": None}``.

References: Devlin et al., BERT, 2018, https://arxiv.org/abs/1810.04805; Reimers and Gurevych, Sentence-BERT,
2019, https://arxiv.org/abs/1908.10084.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

RENAME: dict[str, str | None] = {"cls.*": None, "bert.*": "*"}
RENAME_OLDEST = {"cls.*": None, "bert.*.gamma": "*.weight", "bert.*.beta": "*.bias", "bert.*": "*"}

ACTIVATIONS = {"gelu": F.gelu, "gelu_new": partial(F.gelu, approximate="tanh"), "relu": F.relu}

TENSOR_PARALLEL = {
    "embeddings.word_embeddings.weight": ("model", None),
    "*.attention.self.*.weight": ("model", None),
    "*.attention.self.*.bias": ("model",),
    "*.attention.output.dense.weight": (None, "model"),
    "*.intermediate.dense.weight": ("model", None),
    "*.intermediate.dense.bias": ("model",),
    "*.output.dense.weight": (None, "model"),
}
"""Rules of `parallel.shard`: each device has some heads and some features of the MLP, and a part of the words."""


@dataclass(frozen=True)
class BertConfig:
    """The sizes of a model, named as in Hugging Face's ``config.json``; by default those of bert-base."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    position_embedding_type: str = "absolute"

    def __post_init__(self) -> None:
        """Refuse what this file does not compute."""
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act is one of {', '.join(ACTIVATIONS)} in this file, not {self.hidden_act!r}"
            )
        if self.position_embedding_type != "absolute":
            raise ValueError(
                f"positions are 'absolute' in this file, not {self.position_embedding_type!r}"
            )


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Make a linear layer whose weight starts from N(0, 0.02²) and whose bias from zero."""
    layer = nn.Linear(inputs, outputs)
    layer.weight = fn.Parameter((outputs, inputs), nn.init.normal(std=0.02))
    layer.bias = fn.Parameter((outputs,), nn.init.zeros())
    return layer


def table(rows: int, width: int) -> nn.Embedding:
    """Make an embedding that starts from N(0, 0.02²)."""
    layer = nn.Embedding(rows, width)
    layer.weight = fn.Parameter((rows, width), nn.init.normal(std=0.02))
    return layer


class Embeddings(nn.Module):
    """The sum of what a token, its position and its segment stand for."""

    def __init__(self, config: BertConfig) -> None:
        self.word_embeddings = table(config.vocab_size, config.hidden_size)
        self.position_embeddings = table(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = table(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def __call__(self, tokens: jax.Array, segments: jax.Array) -> jax.Array:
        """Map two ``(N, T)`` to ``(N, T, D)``."""
        x = self.word_embeddings(tokens) + self.token_type_embeddings(segments)
        x = x + self.position_embeddings(jnp.arange(tokens.shape[1]))
        return self.dropout(self.LayerNorm(x))


class SelfAttention(nn.Module):
    """Attention between all positions that take part."""

    def __init__(self, config: BertConfig) -> None:
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = linear(config.hidden_size, config.hidden_size)
        self.key = linear(config.hidden_size, config.hidden_size)
        self.value = linear(config.hidden_size, config.hidden_size)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``; ``mask`` is ``(N, 1, 1, T)``."""
        q, k, v = (self._heads(project(x)) for project in (self.query, self.key, self.value))
        dropping = self.training and self.dropout > 0
        attended = F.scaled_dot_product_attention(
            q,
            k,
            v,
            mask,
            self.dropout if dropping else 0.0,
            dropout_key=self.next_key() if dropping else None,
        )
        return jnp.swapaxes(attended, 1, 2).reshape(x.shape)

    def _heads(self, x: jax.Array) -> jax.Array:
        """Split ``(N, T, D)`` into ``(N, heads, T, D / heads)``."""
        return jnp.swapaxes(x.reshape(*x.shape[:2], self.heads, -1), 1, 2)


class Output(nn.Module):
    """A projection, its shortcut, and the norm of their sum."""

    def __init__(self, inputs: int, config: BertConfig) -> None:
        self.dense = linear(inputs, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def __call__(self, x: jax.Array, shortcut: jax.Array) -> jax.Array:
        """Map ``(N, T, inputs)`` and ``(N, T, D)`` to ``(N, T, D)``."""
        return self.LayerNorm(self.dropout(self.dense(x)) + shortcut)


class Attention(nn.Module):
    """Self-attention around a shortcut."""

    def __init__(self, config: BertConfig) -> None:
        self.self = SelfAttention(config)
        self.output = Output(config.hidden_size, config)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        return self.output(self.self(x, mask), x)


class Intermediate(nn.Module):
    """The wide layer between."""

    def __init__(self, config: BertConfig) -> None:
        self.dense = linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, intermediate_size)``."""
        return self.activation(self.dense(x))


class Layer(nn.Module):
    """Attention and an MLP, each around a shortcut and before a layer norm."""

    def __init__(self, config: BertConfig) -> None:
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config.intermediate_size, config)

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Encoder(nn.Module):
    """The layers, one after another."""

    def __init__(self, config: BertConfig) -> None:
        self.layer = [Layer(config) for _ in range(config.num_hidden_layers)]

    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        for layer in self.layer:
            x = layer(x, mask)
        return x


class Pooler(nn.Module):
    """A vector for the whole text, from its first token."""

    def __init__(self, config: BertConfig) -> None:
        self.dense = linear(config.hidden_size, config.hidden_size)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, D)``."""
        return jnp.tanh(self.dense(x[:, 0]))


class Bert(nn.Module):
    """The encoder and its pooler; ``embed`` makes one vector of each text."""

    def __init__(self, config: BertConfig) -> None:
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.pooler = Pooler(config)

    def hidden(
        self, tokens: jax.Array, mask: jax.Array | None = None, segments: jax.Array | None = None
    ) -> jax.Array:
        """Map tokens ``(N, T)`` to features ``(N, T, D)``; see `__call__`."""
        mask = jnp.ones(tokens.shape, jnp.bool_) if mask is None else mask.astype(jnp.bool_)
        segments = jnp.zeros_like(tokens) if segments is None else segments
        return self.encoder(self.embeddings(tokens, segments), mask[:, None, None])

    def __call__(
        self, tokens: jax.Array, mask: jax.Array | None = None, segments: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Give the features of each position and of the whole text.

        Args:
            tokens: integers, ``(N, T)``.
            mask: which of them take part, ``(N, T)``: all by default.
            segments: which part of the text each belongs to, ``(N, T)``: the first by default.

        Returns:
            Features ``(N, T, D)``; the pooler's ``(N, D)``.
        """
        x = self.hidden(tokens, mask, segments)
        return x, self.pooler(x)

    def embed(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        """Map texts ``(N, T)`` to vectors ``(N, D)`` of length one: the mean over the tokens that take part."""
        x = self.hidden(tokens, mask)
        weights = mask[..., None].astype(x.dtype)
        mean = (x * weights).sum(1) / weights.sum(1)
        return F.normalize(mean, dim=-1)
