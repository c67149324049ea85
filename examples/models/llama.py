"""A decoder of the Llama family that takes Hugging Face's files as they are.

    config = read_config(LlamaConfig, "config.json")
    model = Llama(config)
    params, state = checkpoint.load_weights("model.safetensors", model)   # `LlamaForCausalLM`
    logits, _ = fn.functionalize(model).apply(params, state, tokens)
    written = generate(model, params, tokens, length=50)

Where the head is tied to the embedding, files leave ``lm_head.weight`` out: one name is enough.

References: Touvron et al., LLaMA, 2023, https://arxiv.org/abs/2302.13971; Grattafiori et al., The Llama 3
Herd of Models, 2024, https://arxiv.org/abs/2407.21783.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

Caches = Sequence[nn.KeyValueCache]

ROPE_TYPES = {"default": "none", "linear": "linear", "llama3": "llama3"}
"""Hugging Face's names for the scaling of rotary frequencies, and funcnet's."""

TENSOR_PARALLEL = {
    "model.embed_tokens.weight": ("model", None),
    "lm_head.weight": ("model", None),
    "*.self_attn.[qkv]_proj.weight": ("model", None),
    "*.self_attn.o_proj.weight": (None, "model"),
    "*.mlp.gate_proj.weight": ("model", None),
    "*.mlp.up_proj.weight": ("model", None),
    "*.mlp.down_proj.weight": (None, "model"),
}
"""Rules of `parallel.shard`: each device has some heads and some features of the MLP, and a part of the words.

The axis has to divide the heads of keys and values. A tied head goes by the embedding's name: leave its line out.
"""


@dataclass(frozen=True)
class LlamaConfig:
    """The sizes of a model, named as in Hugging Face's ``config.json``; by default those of TinyLlama 1.1B."""

    vocab_size: int = 32000
    hidden_size: int = 2048
    intermediate_size: int = 5632
    num_hidden_layers: int = 22
    num_attention_heads: int = 32
    num_key_value_heads: int = 4
    head_dim: int | None = None
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: Mapping[str, Any] | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    attention_dropout: float = 0.0
    tie_word_embeddings: bool = False
    hidden_act: str = "silu"
    sliding_window: int | None = None

    def __post_init__(self) -> None:
        """Refuse what this file does not compute."""
        if self.hidden_act != "silu":
            raise ValueError(f"Llama's activation is 'silu', not {self.hidden_act!r}")
        if self.sliding_window is not None:
            raise ValueError("attention reaches back without limit here: no sliding_window")

    @property
    def features(self) -> int:
        """How many features a head has."""
        return self.head_dim or self.hidden_size // self.num_attention_heads


def linear(inputs: int, outputs: int, bias: bool = False) -> nn.Linear:
    """Make a linear layer that starts from N(0, 0.02²)."""
    layer = nn.Linear(inputs, outputs, bias)
    layer.weight = fn.Parameter(layer.weight.shape, nn.init.normal(std=0.02))
    return layer


def rotary(config: LlamaConfig) -> nn.RotaryEmbedding:
    """Make the rotary embedding that a config describes."""
    scaling = config.rope_scaling or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ROPE_TYPES:
        raise ValueError(
            f"rope_scaling is one of {', '.join(ROPE_TYPES)} in this file; the config says {kind!r}"
        )
    return nn.RotaryEmbedding(
        config.features,
        config.rope_theta,
        scaling=ROPE_TYPES[kind],
        factor=scaling.get("factor", 1.0),
        original_length=scaling.get("original_max_position_embeddings", 8192),
        low_freq_factor=scaling.get("low_freq_factor", 1.0),
        high_freq_factor=scaling.get("high_freq_factor", 4.0),
    )


class MLP(nn.Module):
    """SwiGLU: one projection opens and closes the gates of another."""

    def __init__(self, config: LlamaConfig) -> None:
        narrow, wide = config.hidden_size, config.intermediate_size
        self.gate_proj = linear(narrow, wide, config.mlp_bias)
        self.up_proj = linear(narrow, wide, config.mlp_bias)
        self.down_proj = linear(wide, narrow, config.mlp_bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention and an MLP, each after an RMS norm and around a shortcut."""

    def __init__(self, config: LlamaConfig) -> None:
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = nn.GroupedQueryAttention(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            head_dim=config.features,
            bias=config.attention_bias,
            dropout=config.attention_dropout,
            rotary=rotary(config),
        )
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def __call__(
        self, x: jax.Array, cache: nn.KeyValueCache | None = None
    ) -> tuple[jax.Array, nn.KeyValueCache | None]:
        """Map ``(N, T, D)`` to ``(N, T, D)``, and the cache to one that also holds these positions."""
        attended, cache = self.self_attn(self.input_layernorm(x), cache=cache)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), cache


class Decoder(nn.Module):
    """From tokens to the features of their positions."""

    def __init__(self, config: LlamaConfig) -> None:
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        shape = self.embed_tokens.weight.shape
        self.embed_tokens.weight = fn.Parameter(shape, nn.init.normal(std=0.02))
        self.layers = [Layer(config) for _ in range(config.num_hidden_layers)]
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def __call__(
        self, tokens: jax.Array, caches: Caches | None = None
    ) -> tuple[jax.Array, list[Any]]:
        """Map ``(N, T)`` to ``(N, T, D)`` and one new cache for each layer."""
        x, new = self.embed_tokens(tokens), []
        for layer, cache in zip(self.layers, caches or [None] * len(self.layers), strict=True):
            x, cache = layer(x, cache)
            new.append(cache)
        return self.norm(x), new


class Llama(nn.Module):
    """The language model; ``decode`` is its form for one piece of text after another."""

    def __init__(self, config: LlamaConfig) -> None:
        self.model = Decoder(config)
        self.lm_head = linear(config.hidden_size, config.vocab_size)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight  # tying is assignment

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens ``(N, T)`` to the next tokens' logits ``(N, T, vocab_size)``."""
        return self.lm_head(self.model(tokens)[0])

    def decode(self, tokens: jax.Array, caches: Caches) -> tuple[jax.Array, list[Any]]:
        """Take further tokens ``(N, T)``; give the logits ``(N, vocab_size)`` after the last, and new caches."""
        x, caches = self.model(tokens, caches)
        return self.lm_head(x[:, -1]), caches

    def empty_caches(self, batch: int, capacity: int, dtype: Any = jnp.float32) -> Caches:
        """Make caches with room for ``capacity`` positions; the description can do that."""
        layers = self.model.layers
        return [layer.self_attn.empty_cache((batch,), capacity, dtype) for layer in layers]


def generate(model: Llama, params: Any, prompt: jax.Array, length: int) -> jax.Array:
    """Write on from a prompt ``(N, T)``, always the likeliest token: ``(N, length)``."""
    net = fn.functionalize(model.decode)
    dtype = params["model"]["embed_tokens"]["weight"].dtype
    caches = model.empty_caches(prompt.shape[0], prompt.shape[1] + length, dtype)

    def write(carry: Any, _: Any) -> Any:
        logits, caches = carry
        token = logits.argmax(-1)
        return net.apply(params, {}, token[:, None], caches)[0], token

    start = net.apply(params, {}, prompt, caches)[0]
    return jnp.swapaxes(jax.lax.scan(write, start, length=length)[1], 0, 1)
