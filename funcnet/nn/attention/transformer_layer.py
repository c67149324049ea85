"""What the layers of a transformer's encoder and decoder share."""

import copy
from collections.abc import Callable

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.checks import check_positive
from funcnet.functional import gelu, relu
from funcnet.functional.attention.implementations import AttentionForm
from funcnet.functional.attention.multi_head import without_padding
from funcnet.module import Module
from funcnet.nn.attention.multi_head import MultiheadAttention
from funcnet.nn.containers.module_list import ModuleList
from funcnet.nn.dropout import Dropout
from funcnet.nn.linear import Linear
from funcnet.nn.normalization.layer import LayerNorm

__all__ = ["ActivationOrName", "TransformerLayer", "activation_function", "layer_copies"]

ActivationOrName = str | Callable[[Array], Array]


def activation_function(activation: ActivationOrName) -> Callable[[Array], Array]:
    """Return the function that PyTorch's name of an activation means; functions stay what they are."""
    if not isinstance(activation, str):
        return activation
    functions = {"relu": relu, "gelu": gelu}
    if activation not in functions:
        raise ValueError(f"activation must be 'relu', 'gelu' or a function; got {activation!r}")
    return functions[activation]


def layer_copies(layer: Module, count: int) -> ModuleList:
    """Copy a description; each copy has parameters of its own."""
    check_positive("num_layers", count)
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


class TransformerLayer(Module):
    """What both kinds share: attention and a feed-forward block, each with norm and residual."""

    self_attn: MultiheadAttention

    def _declare(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        activation: ActivationOrName,
        layer_norm_eps: float,
        batch_first: bool,
        norm_first: bool,
        bias: bool,
        dtype: DType,
        implementation: AttentionForm | None,
        attentions: tuple[str, ...],
    ) -> None:
        for name in attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout, bias,
                batch_first=batch_first, dtype=dtype, implementation=implementation,
            )  # fmt: skip
            setattr(self, name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype=dtype)
        self.norm_first = norm_first
        for number in range(1, len(attentions) + 2):
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
            setattr(self, f"norm{number}", norm)
            setattr(self, f"dropout{number}", Dropout(dropout))
        self.activation = activation_function(activation)

    def _without_padding(
        self, x: Array, padding: Array | None, segment_ids: ArrayLike | None = None
    ) -> Array:
        """Keep padding that is not finite out of residuals and norms as well as out of attention."""
        outside = None if segment_ids is None else jnp.asarray(segment_ids) == 0
        for out in (padding, outside):
            if out is not None:
                x = without_padding(x, out, self.self_attn.batch_first)
        return x

    def _residual(self, x: Array, norm: Module, block: Callable[[Array], Array]) -> Array:
        return x + block(norm(x)) if self.norm_first else norm(x + block(x))

    def _feed_forward(self, x: Array) -> Array:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))
