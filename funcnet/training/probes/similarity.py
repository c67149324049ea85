"""cka: how alike the layers of a model, or of two models, see the same samples."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from funcnet.core.aliases import Array, Params, State
from funcnet.core.checks import check_choice, check_positive
from funcnet.core.dtypes import at_least_float32
from funcnet.module import Functional
from funcnet.parallel.rules.table import Rules
from funcnet.training.pictures.similarities import similarity_matrix
from funcnet.training.predict import inputs_of
from funcnet.training.probes.features import Layers, flat_rows, over_batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CKA", "cka"]


@dataclass(frozen=True, eq=False)
class CKA:
    """How alike layers are: a table when printed.

    Attributes:
        values: ``(rows, columns)``: about 1 for layers that tell the samples apart alike, about 0 for others; ``nan``
            for a layer that returns the same for all samples.
        rows: paths of layers.
        columns: likewise, of the other model if there is one.
        batches: how many batches it is the mean over.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 8), nn.Tanh()))
        >>> params, state = net.init(jax.random.key(0))
        >>> batches = [jax.random.normal(key, (32, 3)) for key in jax.random.split(jax.random.key(1), 4)]
        >>> found = fn.training.cka(net, params, state, "*", batches)
        >>> found.rows, found.values.shape, found.batches
        (('0', '1'), (2, 2), 4)
    """

    values: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    batches: int

    def __str__(self) -> str:
        """Lay the table out as text."""
        width = max(len(path) for path in (*self.rows, *self.columns, "0.000"))
        lines = ["  ".join([" " * width, *(f"{path:>{width}}" for path in self.columns)])]
        for path, values in zip(self.rows, self.values, strict=True):
            lines.append(
                "  ".join([f"{path:<{width}}", *(f"{value:>{width}.3f}" for value in values)])
            )
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self, path: str | os.PathLike[str] | None = None, *, title: str = "CKA") -> "Figure":
        """Draw the table as a picture.

        Args:
            path: where to save it.
            title: above it.

        Example:
            >>> found = fn.training.CKA(np.eye(2), ("0", "1"), ("0", "1"), 1)
            >>> found.plot("cka.png").axes[0].get_title()
            'CKA'
        """
        return similarity_matrix(
            self.values, path, rows=self.rows, columns=self.columns, title=title
        )


def cka(
    net: Functional,
    params: Params,
    state: State,
    patterns: str | Iterable[str],
    batches: Iterable[Any],
    *,
    other: tuple[Functional, Params, State] | None = None,
    other_patterns: str | Iterable[str] | None = None,
    inputs: str | Callable[[Any], Any] | None = None,
    features: Callable[[Any], Array] = flat_rows,
    kernel: str = "linear",
    bandwidth: float = 0.5,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> CKA:
    r"""Compare what layers return for the same samples: centered kernel alignment.

    .. math:: \frac{\sum_b \mathrm{HSIC}_1(K_b, L_b)}
        {\sqrt{\sum_b \mathrm{HSIC}_1(K_b, K_b)}\,\sqrt{\sum_b \mathrm{HSIC}_1(L_b, L_b)}}

    over batches :math:`b`, with the kernels' matrices :math:`K` and :math:`L` and the estimator of HSIC that does not
    depend on the size of a batch: no more than one batch is held, whatever the number of samples. Use the same batch
    size throughout; batches of fewer than four real rows are left out.

    Args:
        net: what `functionalize` returned.
        params: its parameters.
        state: its buffers.
        patterns: a glob, or several, on the modules' dotted paths, as in `capture`.
        batches: an iterable of batches. Rows that fill a batch, as ``batch["valid"]`` says, do not count.
        other: ``(net, params, state)`` of another model to compare with, called with the same inputs.
        other_patterns: the other's modules; without it the same patterns.
        inputs: the key of a batch's inputs, or a function of the batch; see `predict`.
        features: from what a module returns to ``(N, *)``, which is made flat.
        kernel: ``"linear"``, or ``"rbf"``, :math:`\exp(-\lVert x - y \rVert^2 / 2\sigma^2)`.
        bandwidth: :math:`\sigma` of ``"rbf"``, as a share of the median distance of a batch.
        mesh: see `fit`.
        rules: likewise; both models are spread by them.

    Returns:
        A table when printed; ``plot()`` draws it.

    Raises:
        ValueError: a glob matches no module, no batch has four rows, or a module gives no row for each sample.
        TypeError: a batch instead of batches.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 8), nn.Tanh()))
        >>> params, state = net.init(jax.random.key(0))
        >>> batches = [jax.random.normal(key, (32, 3)) for key in jax.random.split(jax.random.key(1), 4)]
        >>> found = fn.training.cka(net, params, state, "*", batches)
        >>> found.values.shape, found.values.diagonal().round(3).tolist()
        ((3, 3), [1.0, 1.0, 1.0])

    Reference: Kornblith et al., Similarity of Neural Network Representations Revisited, 2019,
        https://arxiv.org/abs/1905.00414; Nguyen, Raghu and Kornblith, Do Wide and Deep Networks Learn the Same
        Things?, 2021, https://arxiv.org/abs/2010.15327.
    """
    check_choice("kernel", kernel, ("linear", "rbf"))
    check_positive("bandwidth", bandwidth)
    first = Layers(net, params, state, patterns, features, mesh, rules)
    models = [first]
    if other is not None:
        second, *trees = other
        models.append(
            Layers(second, trees[0], trees[1], other_patterns or patterns, features, mesh, rules)
        )
    paths: list[tuple[str, ...]] = []

    def look(arrays: list[Any], x: Any, valid: Array) -> Any:
        paths[:] = []
        grams = []
        for model, (weights, buffers) in zip(models, arrays, strict=True):
            seen = model(weights, buffers, x, len(valid))
            paths.append(tuple(seen))
            grams.append(
                jnp.stack([_gram(rows, valid, kernel, bandwidth) for rows in seen.values()])
            )
        return _hsic(grams[0], grams[-1], valid), *(_hsic_own(each, valid) for each in grams)

    def entries(batch: Any) -> Any:
        return inputs(batch) if callable(inputs) else inputs_of(batch, inputs)

    arrays = [model.arrays for model in models]
    totals, counted = None, 0
    for found in over_batches(first.setup, batches, entries, look, arrays):
        values = [np.asarray(each, float) for each in found]
        if np.isnan(values[0]).all():
            continue
        counted += 1
        totals = values if totals is None else [a + b for a, b in zip(totals, values, strict=True)]
    if totals is None:
        raise ValueError("no batch has four real rows, which HSIC needs: pass larger batches")
    return CKA(_aligned(*totals), paths[0], paths[-1], counted)


def _aligned(cross: np.ndarray, own: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    others = own if others is None else others
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.sqrt(own)[:, None] * np.sqrt(others)[None, :]
        return np.where(scale > 0, cross / scale, np.nan)


def _gram(rows: Array, valid: Array, kernel: str, bandwidth: float) -> Array:
    """Return a kernel's matrix, centered so that HSIC is a sum of products, zero where a row is not real."""
    real = valid.astype(at_least_float32(rows.dtype))
    number = jnp.sum(real)
    x = jnp.where(valid[:, None], rows.astype(real.dtype), 0)
    x = (x - jnp.sum(x, 0) / jnp.maximum(number, 1)) * real[:, None]  # near zero products are exact
    products = jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST)
    pairs = (valid[:, None] & valid) & ~jnp.eye(len(valid), dtype=bool)
    made = products if kernel == "linear" else _rbf(products, pairs, bandwidth)
    made = jnp.where(pairs, made, 0)
    sums, total = jnp.sum(made, 1), jnp.sum(made)
    few, fewer = jnp.maximum(number - 1, 1), jnp.maximum(number - 2, 1)
    centered = made - (sums[:, None] + sums) / fewer + total / (few * fewer)
    return jnp.where(pairs, centered, 0)


def _rbf(products: Array, pairs: Array, bandwidth: float) -> Array:
    sizes = jnp.diagonal(products)
    squares = jnp.maximum(sizes[:, None] + sizes - 2 * products, 0)
    median = jnp.nanmedian(jnp.where(pairs, squares, jnp.nan))
    alike = jnp.exp(-squares / (2 * bandwidth**2 * jnp.where(median > 0, median, 1)))
    differ = jnp.max(jnp.where(pairs, squares, 0)) > 0
    return jnp.where(
        differ, alike, 0
    )  # centered, ones would be rounding alone, and alike each other


def _scale(valid: Array, dtype: Any) -> Array:
    number = jnp.sum(valid, dtype=dtype)
    return jnp.where(number > 3, 1 / jnp.where(number > 3, number * (number - 3), 1), jnp.nan)


def _hsic(first: Array, second: Array, valid: Array) -> Array:
    products = jnp.einsum("aij,bij->ab", first, second, precision=jax.lax.Precision.HIGHEST)
    return products * _scale(valid, products.dtype)


def _hsic_own(grams: Array, valid: Array) -> Array:
    return jnp.sum(jnp.square(grams), (1, 2)) * _scale(valid, grams.dtype)
