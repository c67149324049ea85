"""Layers that own a table of vectors and look rows of it up."""

from typing import Any

import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.functional.embedding import embedding, embedding_bag, row_index
from funcnet.module import Buffer, Module, Parameter
from funcnet.nn import init
from funcnet.nn.init.from_array import buffer_from_array, parameter_from_array

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """A table of vectors, drawn or given, trained or frozen."""

    weight: Array

    def _declare(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        table: Any,
        freeze: bool,
        dtype: DType,
    ) -> None:
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = row_index("padding_idx", padding_idx, num_embeddings)
        shape = (num_embeddings, embedding_dim)
        if table is not None:
            if tuple(table.shape) != shape:
                raise ValueError(f"the given weight must have shape {shape}; got {table.shape}")
            self.weight = (buffer_from_array if freeze else parameter_from_array)(table)
            return
        start = init.normal()
        if self.padding_idx is not None:
            start = init.zero_row(start, self.padding_idx)
        self.weight = (Buffer if freeze else Parameter)(shape, start, dtype)


def _check_table(embeddings: Any) -> tuple[int, int]:
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must have two axes; got shape {embeddings.shape}")
    return embeddings.shape


class Embedding(_Table):
    """Look rows of a table of vectors up: ``output[i] = weight[input[i]]``.

    Input ``(*)`` of integers, output ``(*, embedding_dim)``. An index outside of the table
    raises where its value is known, and gives NaN inside ``jax.jit``.

    Args:
        num_embeddings: number of rows.
        embedding_dim: length of a row.
        padding_idx: a row that starts at zero and gets no gradient.
        max_norm: rows of a larger norm are used as if scaled down to it; the parameter itself stays
            as it is (see `funcnet.functional.embedding_renorm`).
        norm_type: the p of that norm.
        scale_grad_by_freq: whether a row's gradient is divided by how often it is looked up.
        sparse: accepted and without effect, as gradients are dense arrays here.
        dtype: of the table.

    Attributes:
        weight: ``(num_embeddings, embedding_dim)``, from ``N(0, 1)``.

    Raises:
        ValueError: ``padding_idx`` names no row.

    >>> net = fn.functionalize(nn.Embedding(10, 3))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.array([[1, 2], [4, 9]]))[0].shape
    (2, 2, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.Embedding.html
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Any = None,
        _freeze: bool = False,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        self._declare(num_embeddings, embedding_dim, padding_idx, _weight, _freeze, dtype)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse

    def __call__(self, input: Array) -> Array:
        """Map indices ``(*)`` to ``(*, embedding_dim)``."""
        return embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> "Embedding":
        """Start from a given table ``(num_embeddings, embedding_dim)``.

        A frozen one is a buffer: part of the state, and never seen by an optimizer.

        >>> nn.Embedding.from_pretrained(jnp.ones((4, 3)), freeze=False).num_embeddings
        4
        """
        rows, columns = _check_table(embeddings)
        return cls(
            rows,
            columns,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight=embeddings,
            _freeze=freeze,
        )


class EmbeddingBag(_Table):
    """Sum, average or maximize bags of rows of a table of vectors.

    ``output[b] = Σ_n weight[input[b, n]]``; for ``"mean"`` it is divided by their number, and for ``"max"`` the
    largest stands in place of the sum.

    Input ``(B, N)`` of integers, or ``(N,)`` with ``offsets``; output ``(B, embedding_dim)``.

    Args:
        num_embeddings: number of rows.
        embedding_dim: length of a row.
        max_norm: as in `Embedding`.
        norm_type: as in `Embedding`.
        scale_grad_by_freq: as in `Embedding`; not for ``"max"``.
        mode: ``"sum"``, ``"mean"`` or ``"max"``.
        sparse: accepted and without effect.
        include_last_offset: whether ``offsets`` also holds where the last bag ends.
        padding_idx: a row that starts at zero, does not count and gets no gradient.
        dtype: of the table.

    Attributes:
        weight: ``(num_embeddings, embedding_dim)``, from ``N(0, 1)``.

    Raises:
        ValueError: ``padding_idx`` names no row.

    >>> net = fn.functionalize(nn.EmbeddingBag(10, 3, mode="sum"))
    >>> params, state = net.init(jax.random.key(0))
    >>> net.apply(params, state, jnp.array([1, 2, 4, 9]), jnp.array([0, 3]))[0].shape
    (2, 3)

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.nn.EmbeddingBag.html
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Any = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        *,
        _freeze: bool = False,
        dtype: DType = jnp.float32,
    ) -> None:
        self._declare(num_embeddings, embedding_dim, padding_idx, _weight, _freeze, dtype)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset

    def __call__(
        self,
        input: Array,
        offsets: Array | None = None,
        per_sample_weights: Array | None = None,
    ) -> Array:
        """Map bags of indices to ``(B, embedding_dim)``; see `funcnet.functional.embedding_bag`."""
        return embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Any,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> "EmbeddingBag":
        """Start from a given table; see `Embedding.from_pretrained`."""
        rows, columns = _check_table(embeddings)
        return cls(
            rows,
            columns,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            embeddings,
            include_last_offset,
            padding_idx,
            _freeze=freeze,
        )
