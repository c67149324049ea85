"""GPT-2: a causal transformer that takes Hugging Face's files as they are.

    model = GPT2(GPT2Config())                                            # 124 million parameters
    params, state = checkpoint.load_weights("model.safetensors", model)   # files of `GPT2LMHeadModel`
    logits, _ = fn.functionalize(model).apply(params, state, tokens)

Files of the model without its head have names without ``transformer.``: `RENAME` adds it. The oldest ones also hold
the masks of attention, which are not needed here: ``rename={"h.*.attn.bias": None} | RENAME``.

Reference: Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

RENAME = {f"{part}.*": f"transformer.{part}.*" for part in ("wte", "wpe", "h", "ln_f")}

TENSOR_PARALLEL = {
    "transformer.wte.weight": ("model", None),
    "*.attn.c_attn.weight": (None, "model"),
    "*.attn.c_attn.bias": ("model",),
    "*.attn.c_proj.weight": ("model", None),
    "*.mlp.c_fc.weight": (None, "model"),
    "*.mlp.c_fc.bias": ("model",),
    "*.mlp.c_proj.weight": ("model", None),
}
"""Rules of `parallel.shard`: each device has some heads and some features of the MLP, and a part of the words."""


@dataclass(frozen=True)
class GPT2Config:
    """The sizes of a model, named as in Hugging Face's ``config.json``; by default those of the smallest."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    resid_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    activation_function: str = "gelu_new"

    def __post_init__(self) -> None:
        """Refuse what this file does not compute."""
        if self.activation_function != "gelu_new":
            raise ValueError(f"GPT-2's activation is 'gelu_new', not {self.activation_function!r}")


class Conv1D(nn.Module):
    """A linear layer whose weight is ``(in, out)``: so do the files of GPT-2 hold it."""

    def __init__(self, inputs: int, outputs: int, std: float = 0.02) -> None:
        self.weight = fn.Parameter((inputs, outputs), nn.init.normal(std=std))
        self.bias = fn.Parameter((outputs,), nn.init.zeros())

    def __call__(self, x: jax.Array, *sizes: int) -> jax.Array:
        """Map ``(*, in)`` to ``(*, out)``, or to ``(*, *sizes)``: so heads can be spread over devices."""
        sizes = sizes or self.bias.shape
        return jnp.tensordot(x, self.weight.reshape(-1, *sizes), 1) + self.bias.reshape(sizes)


class Attention(nn.Module):
    """Causal self-attention; queries, keys and values come from one projection."""

    def __init__(self, config: GPT2Config, out_std: float) -> None:
        self.heads = config.n_head
        self.dropout = config.attn_pdrop
        self.c_attn = Conv1D(config.n_embd, 3 * config.n_embd)
        self.c_proj = Conv1D(config.n_embd, config.n_embd, out_std)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        width = x.shape[-1]
        qkv = self.c_attn(x, 3, self.heads, width // self.heads)
        q, k, v = jnp.moveaxis(qkv, (2, 3), (0, 2))  # each (N, heads, T, D / heads)
        dropping = self.training and self.dropout > 0
        attended = F.scaled_dot_product_attention(
            q,
            k,
            v,
            dropout_p=self.dropout if dropping else 0.0,
            is_causal=True,
            dropout_key=self.next_key() if dropping else None,
        )
        attended = jnp.swapaxes(attended, 1, 2).reshape(x.shape)
        return self.resid_dropout(self.c_proj(attended))


class MLP(nn.Module):
    """Two layers, four times as wide between."""

    def __init__(self, config: GPT2Config, out_std: float) -> None:
        self.c_fc = Conv1D(config.n_embd, 4 * config.n_embd)
        self.c_proj = Conv1D(4 * config.n_embd, config.n_embd, out_std)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        return self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


class Block(nn.Module):
    """Attention and an MLP, each after a layer norm and around a shortcut."""

    def __init__(self, config: GPT2Config) -> None:
        out_std = 0.02 / (2 * config.n_layer) ** 0.5  # what all blocks add to the shortcut adds up
        self.ln_1 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.attn = Attention(config, out_std)
        self.ln_2 = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = MLP(config, out_std)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``(N, T, D)`` to ``(N, T, D)``."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """From tokens to the features of their positions."""

    def __init__(self, config: GPT2Config) -> None:
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.n_positions, config.n_embd)
        self.wte.weight = fn.Parameter(self.wte.weight.shape, nn.init.normal(std=0.02))
        self.wpe.weight = fn.Parameter(self.wpe.weight.shape, nn.init.normal(std=0.01))
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = [Block(config) for _ in range(config.n_layer)]
        self.ln_f = nn.LayerNorm(config.n_embd, config.layer_norm_epsilon)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map ``(N, T)`` to ``(N, T, D)``."""
        x = self.drop(self.wte(tokens) + self.wpe(jnp.arange(tokens.shape[1])))
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class GPT2(nn.Module):
    """The language model: its output layer is the embedding's weight."""

    def __init__(self, config: GPT2Config) -> None:
        self.transformer = Transformer(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight  # tying is assignment

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens ``(N, T)`` to the next tokens' logits ``(N, T, vocab_size)``."""
        return self.lm_head(self.transformer(tokens))
