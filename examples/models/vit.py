"""ViT: a transformer over the patches of an image that takes Hugging Face's files as they are.

    config = read_config(ViTConfig, "config.json")
    model = ViT(config)
    params, state = checkpoint.load_weights("model.safetensors", model)   # `ViTForImageClassification`
    logits, _ = fn.functionalize(model).apply(params, state, images)

Files of timm hold queries, keys and values as one array; `from_timm` splits and renames.

Reference: Dosovitskiy et al., An Image is Worth 16x16 Words, 2020, https://arxiv.org/abs/2010.11929.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

TENSOR_PARALLEL = {
    "*.attention.attention.*.weight": ("model", None),
    "*.attention.attention.*.bias": ("model",),
    "*.attention.output.dense.weight": (None, "model"),
    "*.intermediate.dense.weight": ("model", None),
    "*.intermediate.dense.bias": ("model",),
    "*.output.dense.weight": (None, "model"),
}
"""Rules of `parallel.shard`: each device has some heads and some features of the MLP."""


@dataclass(frozen=True)
class ViTConfig:
    """The sizes of a model, named as in Hugging Face's ``config.json``; by default those of ViT-B/16."""

    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    layer_norm_eps: float = 1e-12
    qkv_bias: bool = True
    hidden_act: str = "gelu"
    num_labels: int = 1000

    def __post_init__(self) -> None:
        """Refuse what this file does not compute."""
        if self.hidden_act != "gelu":
            raise ValueError(f"ViT's activation is 'gelu', not {self.hidden_act!r}")
        if self.image_size % self.patch_size:
            raise ValueError(f"patches of {self.patch_size} do not fill {self.image_size} pixels")

    @property
    def patches(self) -> int:
        """How many patches an image has."""
        return (self.image_size // self.patch_size) ** 2


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """Make a linear layer whose weight starts from N(0, 0.02²), cut off at two, and whose bias from zero."""
    layer = nn.Linear(inputs, outputs, bias)
    layer.weight = fn.Parameter((outputs, inputs), nn.init.trunc_normal(std=0.02))
    if bias:
        layer.bias = fn.Parameter((outputs,), nn.init.zeros())
    return layer


class Patches(nn.Module):
    """Each patch as a vector: a convolution whose windows do not overlap."""

    def __init__(self, config: ViTConfig) -> None:
        size = config.patch_size
        self.projection = nn.Conv2d(config.num_channels, config.hidden_size, size, stride=size)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map ``(N, C, H, W)`` to ``(N, patches, D)``."""
        x = self.projection(images)
        return jnp.swapaxes(x.reshape(*x.shape[:2], -1), 1, 2)


class Embeddings(nn.Module):
    """Patches and their positions, behind a token that stands for the whole image."""

    def __init__(self, config: ViTConfig) -> None:
        start = nn.init.trunc_normal(std=0.02)
        self.cls_token = fn.Parameter((1, 1, config.hidden_size), start)
        self.position_embeddings = fn.Parameter((1, config.patches + 1, config.hidden_size), start)
        self.patch_embeddings = Patches(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map ``(N, C, H, W)`` to ``(N, 1 + patches, D)``."""
        x = self.patch_embeddings(images)
        first = jnp.broadcast_to(self.cls_token, (x.shape[0], *self.cls_token.shape[1:]))
        return self.dropout(jnp.concatenate([first, x], 1) + self.position_embeddings)


class SelfAttention(nn.Module):
    """Attention between all patches."""

    def __init__(self, config: ViTConfig) -> None:
        self.heads = config.num_attention_heads
        self.dropout = config.attention_probs_dropout_prob
        self.query = linear(config.hidden_size, config.hidden_size, config.qkv_bias)
        self.key = linear(config.hidden_size, config.hidden_size, config.qkv_bias)
        self.value = linear(config.hidden_size, config.hidden_size, config.qkv_bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        q, k, v = (self._heads(project(x)) for project in (self.query, self.key, self.value))
        dropping = self.training and self.dropout > 0
        attended = F.scaled_dot_product_attention(
            q,
            k,
            v,
            dropout_p=self.dropout if dropping else 0.0,
            dropout_key=self.next_key() if dropping else None,
        )
        return jnp.swapaxes(attended, 1, 2).reshape(x.shape)

    def _heads(self, x: jax.Array) -> jax.Array:
        """Split ``(N, T, D)`` into ``(N, heads, T, D / heads)``."""
        return jnp.swapaxes(x.reshape(*x.shape[:2], self.heads, -1), 1, 2)


class Dense(nn.Module):
    """A linear layer and dropout."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        self.dense = linear(inputs, outputs)
        self.dropout = nn.Dropout(dropout)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(*, inputs)`` to ``(*, outputs)``."""
        return self.dropout(self.dense(x))


class Attention(nn.Module):
    """Self-attention and its output projection."""

    def __init__(self, config: ViTConfig) -> None:
        self.attention = SelfAttention(config)
        self.output = Dense(config.hidden_size, config.hidden_size, config.hidden_dropout_prob)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        return self.output(self.attention(x))


class Layer(nn.Module):
    """Attention and an MLP, each after a layer norm and around a shortcut."""

    def __init__(self, config: ViTConfig) -> None:
        narrow, wide = config.hidden_size, config.intermediate_size
        self.layernorm_before = nn.LayerNorm(narrow, config.layer_norm_eps)
        self.attention = Attention(config)
        self.layernorm_after = nn.LayerNorm(narrow, config.layer_norm_eps)
        self.intermediate = Dense(narrow, wide, 0.0)
        self.output = Dense(wide, narrow, config.hidden_dropout_prob)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(F.gelu(self.intermediate(self.layernorm_after(x))))


class Encoder(nn.Module):
    """The layers, one after another."""

    def __init__(self, config: ViTConfig) -> None:
        self.layer = [Layer(config) for _ in range(config.num_hidden_layers)]

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        for layer in self.layer:
            x = layer(x)
        return x


class Backbone(nn.Module):
    """From images to the features of their patches: Hugging Face's ``ViTModel`` without its pooler."""

    def __init__(self, config: ViTConfig) -> None:
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map ``(N, C, H, W)`` to ``(N, 1 + patches, D)``."""
        return self.layernorm(self.encoder(self.embeddings(images)))


class ViT(nn.Module):
    """The classifier: it reads the first token's features."""

    def __init__(self, config: ViTConfig) -> None:
        self.vit = Backbone(config)
        self.classifier = linear(config.hidden_size, config.num_labels)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images ``(N, C, H, W)`` to logits ``(N, num_labels)``."""
        return self.classifier(self.vit(images)[:, 0])


FROM_TIMM = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj.": "vit.embeddings.patch_embeddings.projection.",
    "blocks.": "vit.encoder.layer.",
    ".norm1.": ".layernorm_before.",
    ".norm2.": ".layernorm_after.",
    ".attn.proj.": ".attention.output.dense.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
    "head.": "classifier.",
}
"""Pieces of timm's names, and what they are here."""


def from_timm(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Bring the arrays of a ``VisionTransformer`` of timm into the layout of this file.

    timm's layer norms have an epsilon of 1e-6: ``ViTConfig(layer_norm_eps=1e-6)``.
    """
    converted = {}
    for name, array in arrays.items():
        for piece, ours in FROM_TIMM.items():
            name = name.replace(piece, ours)
        if name.startswith("norm."):
            converted[f"vit.layer{name}"] = array
        elif ".attn.qkv." in name:
            for part, rows in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                converted[name.replace(".attn.qkv.", f".attention.attention.{part}.")] = rows
        else:
            converted[name] = array
    return converted
